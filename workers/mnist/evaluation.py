"""Evaluation of predictions: overall and per-class metrics, confusion matrix, each image's prediction."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.formats.predictions import PredictedImages
from shared.schemas import ClassResult, EvaluationResult, Misclassified

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.integer]


def evaluate(
    probabilities: Floats,
    losses: Floats,
    labels: Integers,
    indices: Integers,
    threshold: float | None,
    class_names: Sequence[str],
) -> EvaluationResult:
    """Return the evaluation of predictions: per-class results, confusion matrix, each image's prediction.

    Args:
        probabilities: (n, classes); the prediction is the most probable class, on a tie the first.
        losses: (n,), each image's categorical cross-entropy.
        labels: (n,).
        indices: (n,), the images' rows among the dataset's test images.
        threshold: predictions with a lower probability are rejected; None rejects none.
        class_names: in label order.
    """
    predicted = probabilities.argmax(axis=1)
    best = probabilities.max(axis=1).astype(np.float64)
    rejected = np.zeros(len(labels), bool) if threshold is None else best < threshold
    confusion = np.zeros((len(class_names), len(class_names)), np.int64)
    np.add.at(confusion, (labels[~rejected], predicted[~rejected]), 1)
    per_class = _per_class(confusion, np.bincount(labels[rejected], minlength=len(class_names)), class_names)
    wrong = np.flatnonzero((predicted != labels) & ~rejected)
    return EvaluationResult(
        size=len(labels),
        threshold=threshold,
        loss=float(losses.mean(dtype=np.float64)),
        accuracy=sum(result.correct for result in per_class) / len(labels),
        rejected=int(rejected.sum()),
        per_class=per_class,
        confusion_matrix=tuple(map(tuple, confusion.tolist())),
        misclassified=tuple(
            Misclassified(index=indices[i], label=labels[i], predicted=predicted[i], probability=best[i])
            for i in wrong
        ),
        predictions=PredictedImages.of(probabilities, indices, labels).to_bytes(),
    )


def _per_class(
    confusion: npt.NDArray[np.int64], rejected: npt.NDArray[np.int64], class_names: Sequence[str]
) -> tuple[ClassResult, ...]:
    counts = confusion.sum(axis=1) + rejected
    predicted = confusion.sum(axis=0)
    columns = np.stack([counts, rejected, confusion.diagonal(), predicted], axis=1)
    return tuple(
        _class_result(label, name, *row)
        for label, (name, row) in enumerate(zip(class_names, columns.tolist(), strict=True))
    )


def _class_result(
    label: int, name: str, count: int, rejected: int, correct: int, predicted: int
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
