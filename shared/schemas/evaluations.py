"""Evaluations: the results of a job, such as how well its model classifies the test images of a dataset."""

from uuid import UUID

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
    name: str | None
    count: int
    correct: int
    rejected: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None

    @property
    def title(self) -> str:
        """The name of the class, or its number if it has no name."""
        return str(self.label) if self.name is None else self.name


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
    """The results of a job: named values, and of a classification what each class and each image got.

    Attributes:
        type: `classification`, or `values` if it has values only.
        values: numbers by name; None for one that was infinite or not a number.
        size: number of images.
        threshold: predictions with a lower probability are rejected; None: none are.
        loss: the value of this name: of a network, the mean categorical cross-entropy.
        accuracy: the value of this name: of a classification, the share of images predicted correctly and
            not rejected.
        rejected: images whose highest probability is below the threshold.
        has_predictions: whether the prediction of each image is stored.
        per_class: one entry for each class, in label order; empty if it is not a classification.
        confusion_matrix: one row for each true class, one column for each predicted class. Rejected images
            are not counted, so a row sums to its class's count - rejected. None without predictions, and of
            more than 1,000 classes.
        misclassified: the images predicted incorrectly and not rejected: the first 10,000.
    """

    type: str
    values: dict[str, float | None]
    size: int | None
    threshold: float | None
    loss: float | None
    accuracy: float | None
    rejected: int
    has_predictions: bool
    per_class: tuple[ClassResult, ...]
    confusion_matrix: tuple[tuple[int, ...], ...] | None = None
    misclassified: tuple[Misclassified, ...] = ()


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
    """The evaluation that a job made, with its model and dataset if it has them."""

    job_id: UUID
    model_id: UUID | None
    dataset: str | None


class MisclassifiedImage(Misclassified):
    """A test image that was predicted incorrectly, with its pixels.

    Attributes:
        image: a 28x28 grey PNG as `data:image/png;base64,...`; None if this server does not have the dataset.
    """

    image: str | None
