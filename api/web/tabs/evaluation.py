"""The tab `evaluation` of a job's page: values and, for a classification, its matrix and predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, sqrt
from typing import Any

import numpy as np

from api.services import Services
from api.web.tabs import pictures
from shared.errors import EvaluationNotFound, NotReady
from shared.formats.classification import Classified
from shared.schemas import JobDetail, JobEvaluation
from shared.schemas.sprite_sources import DIGIT_NAMES
from shared.store import evaluations

MAX_SHADE = 9
"""The strongest shade of a matrix's cells; 0 is the absence of shade."""

NO_DIGIT = "none"
"""The value in place of a predicted class if the probability is below the threshold."""

MAX_SHOWN_CLASSES = 50
"""The maximum number of classes of a confusion matrix on a page; more would be too many cells to read."""

_SHOWN = 100  # predictions, as many as in the codelab's demonstration
_OWN_FACTS = ("accuracy", "loss")
_NO_DATASET = "the evaluation names no dataset that they are of."


@dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix.

    Attributes:
        share: the cell's share of its row's images, including those without a digit found, 0 to 1; None in an
            empty row.
        shade: the shade for the share, 0 to `MAX_SHADE`.
        error_shade: the shade for the share in proportion to the largest one off the diagonal; 0 on the
            diagonal.
    """

    predicted: int
    count: int
    share: float | None
    shade: int
    error_shade: int


@dataclass(frozen=True)
class Shot:
    """An image with its prediction.

    Attributes:
        probability: the probability of the predicted class, 0 to 1.
        verdict: `correct`, `wrong`, or `rejected` if the probability is below the threshold.
    """

    index: int
    label: int
    predicted: int
    probability: float
    verdict: str


@dataclass(frozen=True)
class Chosen:
    """The cell of the matrix whose images are shown; `predicted` is None for those without a digit found."""

    label: int
    predicted: int | None


def read(services: Services, job: JobDetail, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the template's variables.

    Args:
        query: the query of the page's address; `label` and `predicted` choose a cell of the matrix.
    """
    try:
        evaluation = services.database.read(partial(evaluations.get, job_id=job.id, misclassified=False))
    except (EvaluationNotFound, NotReady):
        return {"evaluation": None}
    counts = [result.count for result in evaluation.per_class]
    names = tuple(result.title for result in evaluation.per_class)
    is_shown = evaluation.confusion_matrix is not None and len(names) <= MAX_SHOWN_CLASSES
    chosen = _chosen(query, len(names))
    shots = _shots(services, evaluation, chosen) if evaluation.has_predictions else []
    dataset = evaluation.dataset or ""
    return {
        "evaluation": evaluation,
        "others": {name: evaluation.values[name] for name in evaluation.values if name not in _OWN_FACTS},
        "names": [str(label) for label in range(len(names))] if names == DIGIT_NAMES else list(names),
        "matrix": matrix(evaluation.confusion_matrix or (), counts) if is_shown else (),
        "wrong": sum(result.count - result.correct - result.rejected for result in evaluation.per_class),
        "chosen": chosen,
        "shots": shots,
        "strip": pictures.strip(dataset, [shot.index for shot in shots]),
        "missing": pictures.missing(dataset, services.settings) if dataset else _NO_DATASET,
    }


def matrix(counts: Sequence[Sequence[int]], totals: Sequence[int]) -> list[list[Cell]]:
    """Return the cells of a confusion matrix, with their shades.

    Args:
        totals: the number of images of each row's class.
    """
    shares = [
        [count / total if total else None for count in row] for row, total in zip(counts, totals, strict=True)
    ]
    errors = [share or 0.0 for i, row in enumerate(shares) for j, share in enumerate(row) if i != j]
    most = max(errors, default=0.0)
    return [
        [
            Cell(
                predicted=j,
                count=count,
                share=share,
                shade=_shade(share or 0.0),
                error_shade=_shade((share or 0.0) / most) if most and i != j else 0,
            )
            for j, (count, share) in enumerate(zip(row, shares[i], strict=True))
        ]
        for i, row in enumerate(counts)
    ]


def _shade(share: float) -> int:
    """Return the shade for a share of 0 to 1, by its square root so that a few errors are visible."""
    return ceil(MAX_SHADE * sqrt(share))


def _chosen(query: Mapping[str, str], classes: int) -> Chosen | None:
    label, predicted = query.get("label", ""), query.get("predicted", "")
    known = [str(number) for number in range(classes)]
    if label not in known or predicted not in (*known, NO_DIGIT):
        return None
    return Chosen(int(label), None if predicted == NO_DIGIT else int(predicted))


def _shots(services: Services, evaluation: JobEvaluation, chosen: Chosen | None) -> list[Shot]:
    """Return the first images of the chosen cell, or of all cells."""
    images = services.database.read(partial(evaluations.predictions, job_id=evaluation.job_id))
    decided = Classified(images, evaluation.threshold)
    verdicts = np.where(decided.is_rejected, "rejected", np.where(decided.is_correct, "correct", "wrong"))
    shown = np.ones(len(images.labels), bool)
    if chosen is not None:
        is_predicted = ~decided.is_rejected & (decided.predicted == chosen.predicted)
        shown = decided.is_rejected if chosen.predicted is None else is_predicted
        shown = shown & (images.labels == chosen.label)
    rows = np.flatnonzero(shown)[:_SHOWN]
    columns = (images.indices, images.labels, decided.predicted, decided.probability, verdicts)
    return [Shot(*values) for values in zip(*(column[rows].tolist() for column in columns), strict=True)]
