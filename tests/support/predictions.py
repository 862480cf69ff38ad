"""Predictions of images, without a model."""

from collections.abc import Mapping, Sequence

import numpy as np

from shared.formats.predictions import PredictedImages

CLASSES = 10


def make_predictions(
    labels: Sequence[int], wrong: Mapping[int, tuple[int, float]] | None = None
) -> PredictedImages:
    """Images with the rows 0, 1, 2, ... and these labels: correct with 0.91, all others as likely.

    Args:
        wrong: for a row what it is predicted to be instead, and with which probability.
    """
    chosen = {row: (label, 0.91) for row, label in enumerate(labels)} | dict(wrong or {})
    table = np.empty((len(labels), CLASSES), np.float32)
    for row, (predicted, probability) in chosen.items():
        table[row] = (1 - probability) / (CLASSES - 1)
        table[row, predicted] = probability
    return PredictedImages(table, np.arange(len(labels)), np.array(labels))
