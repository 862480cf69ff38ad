"""The bytes in which the state of a training is stored.

A header of 16 bytes: the format's name, the number of vectors, the length of each, the number of steps made.
Then the vectors, one after the other, as float32: the weights, and the optimizer's in its own order. All is
little-endian, and equal states are equal bytes.
"""

import struct

import numpy as np

from shared.errors import AttemptError
from workers.mnist.model import Weights

_HEADER = struct.Struct("<4sIII")
_FORMAT = b"TSC1"


def pack(vectors: list[Weights], step: int) -> bytes:
    """The state as bytes: vectors of one length, and the number of steps made."""
    header = _HEADER.pack(_FORMAT, len(vectors), len(vectors[0]), step)
    return header + np.stack(vectors).astype("<f4").tobytes()


def unpack(state: bytes, count: int, length: int, step: int) -> list[Weights]:
    """The vectors of a state that must have `count` of them, of `length` numbers, after `step` steps.

    Raises:
        AttemptError: it is damaged, or belongs to another job.
    """
    expected = _HEADER.pack(_FORMAT, count, length, step)
    if state[: _HEADER.size] != expected:
        raise AttemptError(
            f"the checkpoint does not fit the job: {_described(state)}, not {_described(expected)}"
        )
    size = _HEADER.size + 4 * count * length
    if len(state) != size:
        raise AttemptError(f"the checkpoint is damaged: it has {len(state):,} bytes, not {size:,}")
    numbers = np.frombuffer(state, "<f4", offset=_HEADER.size)
    return list(numbers.reshape(count, length).astype(np.float32))


def _described(state: bytes) -> str:
    if len(state) < _HEADER.size or not state.startswith(_FORMAT):
        return "it is in no known format"
    _, count, length, step = _HEADER.unpack_from(state)
    return f"{count} vectors of {length:,} numbers after {step:,} steps"
