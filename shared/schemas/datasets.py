"""Images of datasets."""

from shared.schemas.base import Response


class Sample(Response):
    """A test image of a dataset.

    Attributes:
        index: its row among the test images, from 0.
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
