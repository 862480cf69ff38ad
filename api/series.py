"""A job's recorded epochs as curves."""

from collections.abc import Sequence
from enum import StrEnum

from shared.schemas import EpochMetrics, Metrics, Series


class Resolution(StrEnum):
    """What a curve's x counts."""

    EPOCH = "epoch"
    STEP = "step"


def curves(epochs: Sequence[EpochMetrics], resolution: Resolution) -> Metrics:
    """Four curves over the epochs, or the loss and accuracy of each batch over the steps of all epochs.

    Args:
        epochs: the first ones of a job, in order and without a gap, so that x counts from 0.
    """
    if resolution == Resolution.EPOCH:
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        curves = {name: tuple(getattr(epoch, name) for epoch in epochs) for name in names}
    else:
        curves = {
            "loss": tuple(loss for epoch in epochs for loss in epoch.batch_loss),
            "accuracy": tuple(accuracy for epoch in epochs for accuracy in epoch.batch_accuracy),
        }
    return Metrics(
        series=tuple(
            Series(name=name, resolution=resolution.value, x=tuple(range(len(y))), y=y)
            for name, y in curves.items()
        )
    )
