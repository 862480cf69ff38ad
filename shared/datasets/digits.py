"""The dataset `digits`, which needs no network: 1,797 handwritten digits that scikit-learn's wheel contains.

They are the test part of the UCI Machine Learning Repository's "Optical Recognition of Handwritten Digits":
8x8 images of 0 (paper) to 16 (ink), and their labels. The first 1,400 are for training, the rest for testing.
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.datasets.mnist_form import PIXELS, to_mnist_form
from shared.errors import DataUnavailable

NAME = "digits"
TRAIN_ROWS = 1_400
TEST_ROWS = 397

_DARKEST_INK = 16
_FILE = "digits.csv.gz"


def decode() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images in MNIST's form, (1797, 784), and the labels, (1797,), in scikit-learn's order.

    Raises:
        DataUnavailable: scikit-learn is not installed, or its data files are missing.
    """
    with gzip.open(_file(), "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    inks = (table[:, :-1] * (255 / _DARKEST_INK)).round().astype(np.uint8).reshape(-1, 8, 8)
    images = np.stack([to_mnist_form(ink) for ink in inks])
    return images.reshape(-1, PIXELS), table[:, -1].copy()


def _file() -> Path:
    # container images have it beside this module, and nothing else of scikit-learn. The wheel is located, not
    # imported: importing it takes a second and loads 900 modules
    spec = find_spec("sklearn")
    locations = spec.submodule_search_locations if spec else None
    in_wheel = Path(next(iter(locations or ()), "")) / "datasets" / "data" / _FILE
    for path in (Path(__file__).with_name(_FILE), in_wheel):
        if path.is_file():
            return path
    raise DataUnavailable(
        "the dataset `digits` is part of scikit-learn, which is missing or incomplete here: "
        "install it with `pip install --force-reinstall scikit-learn`"
    )
