"""Classifications: the results that follow from the predictions of images, by class and by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.formats.predictions import PredictedImages
from shared.formats.results import NewResult
from shared.schemas import ClassResult, Misclassified

TYPE = "classification"
"""The type of the results of a classification."""

MAX_BODY_BYTES = 64 * 2**20
"""Larger predictions are not kept, so that reading them needs little memory."""
MAX_MATRIX_CLASSES = 1_000
"""A confusion matrix of more classes would have too many cells for a response."""

_MAX_CLASS_NAME = 64
_MAX_MISCLASSIFIED = 10_000  # in one answer

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Classified:
    """Predicted images and a threshold: predictions with a lower probability are rejected."""

    images: PredictedImages
    threshold: float | None = None

    @cached_property
    def predicted(self) -> npt.NDArray[np.intp]:
        """The most probable class of each image, whether it is rejected or not."""
        return self.images.predicted

    @cached_property
    def probability(self) -> npt.NDArray[np.float64]:
        """The probability of each image's most probable class."""
        best: npt.NDArray[np.float64] = self.images.probabilities.max(axis=1).astype(np.float64)
        return best

    @cached_property
    def is_rejected(self) -> Mask:
        """Whether each image is rejected."""
        if self.threshold is None:
            return np.zeros(len(self.images.labels), bool)
        return self.probability < self.threshold

    @property
    def is_correct(self) -> Mask:
        """Whether each image is predicted correctly and not rejected."""
        correct: Mask = ~self.is_rejected & (self.predicted == self.images.labels)
        return correct

    @property
    def is_wrong(self) -> Mask:
        """Whether each image is predicted incorrectly and not rejected."""
        wrong: Mask = ~self.is_rejected & (self.predicted != self.images.labels)
        return wrong

    def confusion_matrix(self) -> tuple[tuple[int, ...], ...] | None:
        """Count the images of each class (rows) by prediction (columns), without the rejected ones.

        Returns None for more than `MAX_MATRIX_CLASSES` classes.
        """
        classes = self.images.classes
        if classes > MAX_MATRIX_CLASSES:
            return None
        taken = ~self.is_rejected
        cells = self.images.labels[taken].astype(np.intp) * classes + self.predicted[taken]
        matrix = np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
        return tuple(map(tuple, matrix.tolist()))

    def misclassified(self, chosen: Mask | None = None, *, limit: int | None = None) -> list[Misclassified]:
        """Return the first images, by index, that are predicted incorrectly and not rejected.

        Args:
            chosen: a mask of the images to consider; None for all images.
        """
        wrong = self.is_wrong if chosen is None else self.is_wrong & chosen
        rows = np.flatnonzero(wrong)[:limit]
        columns = (self.images.indices, self.images.labels, self.predicted, self.probability)
        return [
            Misclassified(index=index, label=label, predicted=predicted, probability=probability)
            for index, label, predicted, probability in zip(
                *(column[rows].tolist() for column in columns), strict=True
            )
        ]

    def details(self, *, misclassified: bool) -> dict[str, Any]:
        """Return the fields of `Evaluation` that follow from the predictions; mistakes only on request."""
        return {
            "confusion_matrix": self.confusion_matrix(),
            "misclassified": self.misclassified(limit=_MAX_MISCLASSIFIED) if misclassified else (),
        }

    def per_class(self, names: Sequence[str | None]) -> tuple[ClassResult, ...]:
        """Return the results of each class, in label order."""
        labels, classes = self.images.labels, self.images.classes
        columns = (
            np.bincount(counted, minlength=classes).tolist()
            for counted in (
                labels,
                labels[self.is_rejected],
                labels[self.is_correct],
                self.predicted[~self.is_rejected],
            )
        )
        return tuple(
            _class_result(label, name, *counts)
            for label, (name, *counts) in enumerate(zip(names, *columns, strict=True))
        )


def classification(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    indices: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    threshold: float | None = None,
    dataset: str | None = None,
    values: Mapping[str, float] | None = None,
) -> NewResult:
    """Return the results of classifying images.

    Args:
        probabilities: (n, classes); the prediction is the most probable class, on a tie the first.
        labels: (n,), the true classes.
        indices: (n,), the images' rows among the dataset's test images; None means 0, 1, 2, ...
        names: the names of the classes, in label order; None if they have none.
        threshold: predictions with a lower probability are rejected; None rejects none.
        values: further numbers by name, such as `loss`; `accuracy` is added.

    Raises:
        ValueError: the arrays do not fit each other, or the names do not fit them.
    """
    rows = np.arange(len(np.asarray(labels))) if indices is None else indices
    images = PredictedImages.of(probabilities, rows, labels)
    if names is not None and (len(names) != images.classes or max(map(len, names)) > _MAX_CLASS_NAME):
        raise ValueError(
            f"{images.classes:,} classes need as many names of up to {_MAX_CLASS_NAME} characters"
        )
    classified = Classified(images, threshold)
    body = images.to_bytes()
    return NewResult(
        type=TYPE,
        values={**(values or {}), "accuracy": int(classified.is_correct.sum()) / len(images.labels)},
        dataset=dataset,
        size=len(images.labels),
        threshold=threshold,
        per_class=classified.per_class(names or [None] * images.classes),
        body=body if len(body) <= MAX_BODY_BYTES else None,
    )


def _class_result(
    label: int, name: str | None, count: int, rejected: int, correct: int, predicted: int
) -> ClassResult:
    recall = _ratio(correct, count)
    precision = _ratio(correct, predicted)
    # the harmonic mean of two ratios with the same numerator
    f1 = None if recall is None or precision is None else 2 * correct / (count + predicted)
    return ClassResult(
        label=label,
        name=name,
        count=count,
        correct=correct,
        rejected=rejected,
        accuracy=recall,
        precision=precision,
        recall=recall,
        f1=f1,
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
