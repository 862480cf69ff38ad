"""Images of datasets."""

from enum import StrEnum
from uuid import UUID

from shared.schemas.base import Response


class Split(StrEnum):
    """A split of a dataset; each numbers its images from 0."""

    TRAIN = "train"
    TEST = "test"


class Part(StrEnum):
    """What a job uses images for. Those of training are of the split `train`, the others of `test`."""

    TRAINING = "training"
    VALIDATION = "validation"
    EVALUATION = "evaluation"

    @property
    def of_split(self) -> Split:
        """The split that its images are from."""
        return Split.TRAIN if self is Part.TRAINING else Split.TEST


class DatasetSummary(Response):
    """A dataset that jobs may use.

    Attributes:
        train_rows: number of images for training.
        test_rows: number of images for validation and evaluation together.
        default_train_size, default_validation_size, default_evaluation_size: the numbers of images that a job
            uses if its specification does not say how many.
        is_cached: whether the API's host has its images; no job waits for a download there.
    """

    name: str
    class_names: tuple[str, ...]
    train_rows: int
    test_rows: int
    default_train_size: int
    default_validation_size: int
    default_evaluation_size: int
    is_cached: bool


class Datasets(Response):
    """The datasets that jobs may use."""

    data: tuple[DatasetSummary, ...]


class Sample(Response):
    """An image of a dataset.

    Attributes:
        index: its row among the images of its split, from 0.
        name: the name of its class.
        image: a 28x28 grey PNG as `data:image/png;base64,...`.
    """

    index: int
    label: int
    name: str
    image: str


class DatasetSamples(Response):
    """Test images drawn from a dataset."""

    dataset: str
    data: tuple[Sample, ...]


class JobImages(Response):
    """The first images that a job uses for something, in the order in which they were drawn.

    Attributes:
        total: how many images the job uses for it.
    """

    job_id: UUID
    dataset: str
    part: Part
    split: Split
    total: int
    data: tuple[Sample, ...]
