"""Test images for people to look at, as the codelab shows them at its start."""

from base64 import b64encode
from io import BytesIO
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.datasets import Dataset
from shared.schemas import DatasetSamples, Sample

_SIDE = 28


def draw(dataset: Dataset, count: int, rng: Random) -> DatasetSamples:
    """That many different test images, or all if there are fewer, in random order."""
    rows = len(dataset.test_labels)
    indices = rng.sample(range(rows), min(count, rows))
    return DatasetSamples(dataset=dataset.info.name, data=tuple(_sample(dataset, index) for index in indices))


def _sample(dataset: Dataset, index: int) -> Sample:
    label = int(dataset.test_labels[index])
    return Sample(
        index=index,
        label=label,
        name=dataset.info.class_names[label],
        image=data_url(dataset.test_images[index]),
    )


def data_url(pixels: NDArray[np.uint8]) -> str:
    """A 28x28 image, in any shape of 784 pixels, as a PNG within an address."""
    file = BytesIO()
    Image.fromarray(pixels.reshape(_SIDE, _SIDE)).save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
