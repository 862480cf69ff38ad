"""Which images a job uses, and in which order."""

import numpy as np
import numpy.typing as npt

from shared.errors import DataCorrupt
from workers.mnist.randomness import Purpose, generator

Rows = npt.NDArray[np.int64]


def train_rows(seed: int, size: int, available: int) -> Rows:
    """The training images of a job: the first `size` of all, shuffled.

    Raises:
        DataCorrupt: the dataset has fewer.
    """
    _require("train_size", size, available)
    return generator(seed, Purpose.TRAIN_ROWS).permutation(available)[:size]


def validation_rows(seed: int, size: int, available: int) -> Rows:
    """The test images measured after each epoch: the first `size` of all, shuffled.

    Raises:
        DataCorrupt: the dataset has fewer.
    """
    _require("validation_size", size, available)
    return _test_order(seed, available)[:size]


def evaluation_rows(seed: int, size: int, available: int, validation_size: int) -> Rows:
    """The test images of an evaluation: of all, shuffled, those after the validation images.

    At the end it goes on from the start, as the codelab's `nextTestBatch` does: no image comes twice, and one
    that was validated on comes only where no other is left.

    Raises:
        DataCorrupt: the dataset has fewer.
    """
    _require("evaluation_size", size, available)
    places = np.arange(validation_size, validation_size + size) % available
    return _test_order(seed, available)[places]


def epoch_order(seed: int, epoch: int, size: int) -> npt.NDArray[np.int32]:
    """The order in which an epoch, counted from 0, goes through the training images."""
    return generator(seed, Purpose.EPOCH_ORDER, epoch).permutation(size).astype(np.int32)


def _test_order(seed: int, available: int) -> Rows:
    return generator(seed, Purpose.TEST_ROWS).permutation(available)


def _require(field: str, size: int, available: int) -> None:
    if size > available:
        raise DataCorrupt(
            f"the job's {field} is {size:,}, but this worker's dataset has {available:,} such images"
        )
