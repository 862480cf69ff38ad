"""Images of a dataset."""

from shared.schemas.base import Response


class Sample(Response):
    """One test image of a dataset.

    Attributes:
        index: its row among the test images.
        label: its class.
        name: what people call the class.
        image: `data:image/png;base64,...`, 28x28, grey.
    """

    index: int
    label: int
    name: str
    image: str


class DatasetSamples(Response):
    """Some test images of a dataset."""

    dataset: str
    data: tuple[Sample, ...]
