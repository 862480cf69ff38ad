"""The dataset that needs no network: the 1,797 handwritten digits that scikit-learn's wheel carries.

They are the test part of the UCI Machine Learning Repository's "Optical Recognition of Handwritten Digits":
8x8 images of 0 (paper) to 16 (ink), and their labels. The first 1,400 are for training, the rest for testing.
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import DataUnavailable

NAME = "digits"
TRAIN_ROWS = 1_400
TEST_ROWS = 397
CLASS_NAMES = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")

_SIDE = 28
_BOX = 20
_CENTRE = 14  # the pixel, counted from 0, at which MNIST's own images have their centre of mass
_INK = 16.0


def decode() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images, (1797, 784), brought to MNIST's form, and the labels, (1797,), in scikit-learn's order.

    Raises:
        DataUnavailable: scikit-learn is not installed whole.
    """
    with gzip.open(_file(), "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    images = np.stack([like_mnist(row.reshape(8, 8)) for row in table[:, :-1]])
    return images.reshape(len(images), -1), table[:, -1].copy()


def like_mnist(digit: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A digit of 0 to 16 in MNIST's manner, (28, 28).

    White on black, scaled to fit 20x20 pixels with its proportions kept, its centre of mass moved to the
    middle (LeCun, Cortes, Burges: "The MNIST database of handwritten digits"). Of Pillow's filters, Lanczos
    brings them nearest to MNIST's: three nearest neighbours among 12,000 of its images read 83 % of them.
    """
    return placed((digit * (255 / _INK)).round().astype(np.uint8))


def placed(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A digit of any size, 0 (paper) to 255 (ink), as `like_mnist` says; it must have some ink."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(side * _BOX / max(ink.shape))) for side in ink.shape)
    scaled = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.LANCZOS))
    top, left = _offset(scaled.sum(axis=1)), _offset(scaled.sum(axis=0))
    image = np.zeros((_SIDE, _SIDE), np.uint8)
    image[top : top + height, left : left + width] = scaled
    return image


def _offset(mass: NDArray[np.uint64]) -> int:
    """Where the first of these lines goes so that their centre of mass is in the middle, and none outside."""
    centre = float(np.average(np.arange(len(mass)), weights=mass))
    return min(max(round(_CENTRE - centre), 0), _SIDE - len(mass))


def _file() -> Path:
    # found, not imported: scikit-learn's import costs a second and 900 modules, and this is a text file in it
    spec = find_spec("sklearn")
    locations = spec.submodule_search_locations if spec else None
    path = Path(next(iter(locations or ()), "")) / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataUnavailable("the dataset `digits` is part of scikit-learn, which is not installed whole")
    return path
