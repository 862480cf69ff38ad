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
