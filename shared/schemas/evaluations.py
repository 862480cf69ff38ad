"""What was measured of a model."""

from uuid import UUID

from shared.schemas.base import Response


class ClassResult(Response):
    """How one class was recognised.

    Attributes:
        label: the class, counted from 0.
        name: what people call it.
        count: images of this class.
        correct: of them, those predicted right with a probability of at least the threshold.
        rejected: of them, those whose best probability was below the threshold.
        accuracy: correct / count; None where count is 0 (for each ratio alike).
        precision: correct / images predicted to be of this class.
        recall: correct / count.
        f1: harmonic mean of precision and recall.
    """

    label: int
    name: str
    count: int
    correct: int
    rejected: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None


class Misclassified(Response):
    """One test image that the model got wrong.

    Attributes:
        index: its row among the dataset's test images, from 0.
        label: what it is.
        predicted: what the model said.
        probability: how sure the model was, 0 to 1.
    """

    index: int
    label: int
    predicted: int
    probability: float


class Evaluation(Response):
    """One measurement of a model: the per-class table and the confusion matrix describe the same test images.

    Attributes:
        size: images measured.
        threshold: predictions below it are rejected; None rejects none.
        loss: mean categorical cross-entropy.
        accuracy: share predicted right and not rejected.
        rejected: images whose best probability was below the threshold.
        per_class: one entry a class, in label order.
        confusion_matrix: rows are true classes, columns predicted ones; rejected images are in no cell, so a
            row sums to its class's count less its rejected.
        misclassified: every image that was predicted wrong and not rejected.
    """

    size: int
    threshold: float | None
    loss: float
    accuracy: float
    rejected: int
    per_class: tuple[ClassResult, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    misclassified: tuple[Misclassified, ...] = ()


class JobEvaluation(Evaluation):
    """A job's evaluation, with what it measured."""

    job_id: UUID
    model_id: UUID
    dataset: str


class MisclassifiedImage(Misclassified):
    """One test image that the model got wrong, to be looked at.

    Attributes:
        image: `data:image/png;base64,...`, 28x28, grey.
    """

    image: str


class MisclassifiedPage(Response):
    """A page of an evaluation's misclassified images, by their index."""

    data: tuple[MisclassifiedImage, ...]
    next_cursor: int | None
    has_more: bool
