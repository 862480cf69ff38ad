"""Every random choice of a job, derived from its seed: nothing random is ever stored."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a random choice is for. The numbers are part of what a seed means: never change one."""

    WEIGHTS = 1
    TRAIN_ROWS = 2
    TEST_ROWS = 3
    EPOCH_ORDER = 4


def generator(seed: int, purpose: Purpose, epoch: int = 0) -> np.random.Generator:
    """The random numbers of one seed for one purpose; independent of those for any other purpose or epoch."""
    return np.random.default_rng([seed, purpose, epoch])
