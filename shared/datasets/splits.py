"""Selection of a job's images: training, validation and evaluation rows, and the order of each epoch."""

import numpy as np
import numpy.typing as npt

from shared.datasets.randomness import Purpose, generator
from shared.errors import DataCorrupt

Rows = npt.NDArray[np.int64]


def train_rows(seed: int, size: int, available: int) -> Rows:
    """Return the rows of a job's training images: the first `size` of all `available`, shuffled.

    Raises:
        DataCorrupt: the dataset has fewer images.
    """
    _require_available("train_size", size, available)
    return generator(seed, Purpose.TRAIN_ROWS).permutation(available)[:size]


def validation_rows(seed: int, size: int, available: int) -> Rows:
    """Return the rows of the test images evaluated after each epoch: the first `size` of all, shuffled.

    Raises:
        DataCorrupt: the dataset has fewer images.
    """
    _require_available("validation_size", size, available)
    return _test_order(seed, available)[:size]


def evaluation_rows(seed: int, size: int, available: int, validation_size: int) -> Rows:
    """Return the rows of an evaluation's test images: of all, shuffled, those after the validation images.

    At the end the selection wraps around, as the codelab's `nextTestBatch` does: no image is selected twice,
    and validation images are selected only if no others are left.

    Raises:
        DataCorrupt: the dataset has fewer images.
    """
    _require_available("evaluation_size", size, available)
    positions = np.arange(validation_size, validation_size + size) % available
    return _test_order(seed, available)[positions]


def epoch_order(seed: int, epoch: int, size: int) -> npt.NDArray[np.int32]:
    """Return the order in which an epoch, counted from 0, uses its `size` training images."""
    return generator(seed, Purpose.EPOCH_ORDER, epoch).permutation(size).astype(np.int32)


def _test_order(seed: int, available: int) -> Rows:
    return generator(seed, Purpose.TEST_ROWS).permutation(available)


def _require_available(field: str, size: int, available: int) -> None:
    if size > available:
        raise DataCorrupt(
            f"the job's {field} is {size:,}, but this worker's dataset has {available:,} such images"
        )
