"""Random number generators of a job, all derived from its seed, so that no generator state is stored."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Purpose of a random choice. The values determine the results of every seed: never change one."""

    WEIGHTS = 1
    TRAIN_ROWS = 2
    TEST_ROWS = 3
    EPOCH_ORDER = 4


def generator(seed: int, purpose: Purpose, epoch: int = 0) -> np.random.Generator:
    """Return the generator for a seed, purpose and epoch; independent of that of any other combination."""
    return np.random.default_rng([seed, purpose, epoch])
