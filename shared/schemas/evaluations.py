"""Evaluations: how well a model classifies the test images of a dataset."""

from uuid import UUID

from pydantic import Field

from shared.schemas.base import Response


class ClassResult(Response):
    """The results of an evaluation for one class.

    Attributes:
        label: the class, from 0.
        count: images of this class.
        correct: those predicted correctly, with a probability not below the threshold.
        rejected: those whose highest probability is below the threshold.
        accuracy: correct / count. Like the other ratios, None if its denominator is 0.
        precision: correct / images predicted to be of this class.
        recall: correct / count.
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
    """A test image that was predicted incorrectly.

    Attributes:
        index: its row among the dataset's test images, from 0.
        probability: of the predicted class, 0 to 1.
    """

    index: int
    label: int
    predicted: int
    probability: float


class Evaluation(Response):
    """The results of evaluating a model on test images.

    Attributes:
        size: number of images.
        threshold: predictions with a lower probability are rejected; None: none are.
        loss: mean categorical cross-entropy.
        accuracy: share of images predicted correctly and not rejected.
        rejected: images whose highest probability is below the threshold.
        per_class: one entry for each class, in label order.
        confusion_matrix: one row for each true class, one column for each predicted class. Rejected images
            are not counted, so a row sums to its class's count - rejected.
        misclassified: every image predicted incorrectly and not rejected.
    """

    size: int
    threshold: float | None
    loss: float
    accuracy: float
    rejected: int
    per_class: tuple[ClassResult, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    misclassified: tuple[Misclassified, ...] = ()


class EvaluationResult(Evaluation):
    """An evaluation as a worker reports it.

    Attributes:
        predictions: of every image, as `shared.formats.predictions` has them.
    """

    predictions: bytes = Field(exclude=True, repr=False)


class ImagePrediction(Response):
    """What a model predicted for a test image in an evaluation.

    Attributes:
        index: its row among the dataset's test images, from 0.
        label: its true class.
        predicted: the most probable class, whatever the evaluation's threshold is.
        probability: of the predicted class, 0 to 1.
        probabilities: of each class, in label order.
    """

    index: int
    label: int
    predicted: int
    probability: float
    probabilities: tuple[float, ...]


class JobEvaluation(Evaluation):
    """The evaluation that a job made, with its model and dataset."""

    job_id: UUID
    model_id: UUID
    dataset: str


class MisclassifiedImage(Misclassified):
    """A test image that was predicted incorrectly, with its pixels.

    Attributes:
        image: a 28x28 grey PNG as `data:image/png;base64,...`.
    """

    image: str
