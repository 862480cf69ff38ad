from base64 import b64decode
from io import BytesIO
from random import Random

import numpy as np
import pytest
from PIL import Image

from api.samples import draw
from shared.datasets import Dataset, DatasetInfo

NAMES = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


@pytest.fixture
def dataset() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (30, 784), dtype=np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)
    info = DatasetInfo("tiny", 10, 20, 10, 10, 10, NAMES)
    return Dataset(info, images[:10], labels[:10], images[10:], labels[10:])


def test_a_sample_is_the_test_image_and_its_label(dataset: Dataset) -> None:
    for sample in draw(dataset, 5, Random(1)).data:
        prefix, encoded = sample.image.split(",")
        pixels = np.asarray(Image.open(BytesIO(b64decode(encoded))))

        assert prefix == "data:image/png;base64"
        assert pixels.shape == (28, 28)
        assert (pixels.reshape(784) == dataset.test_images[sample.index]).all()
        assert sample.label == dataset.test_labels[sample.index]
        assert sample.name == NAMES[sample.label]


def test_no_image_is_drawn_twice(dataset: Dataset) -> None:
    assert sorted(sample.index for sample in draw(dataset, 20, Random(1)).data) == list(range(20))


def test_all_images_are_drawn_where_there_are_fewer_than_asked_for(dataset: Dataset) -> None:
    assert len(draw(dataset, 200, Random(1)).data) == 20


def test_the_same_seed_draws_the_same_images(dataset: Dataset) -> None:
    assert draw(dataset, 5, Random(1)) == draw(dataset, 5, Random(1)) != draw(dataset, 5, Random(2))
