"""Binary format of a checkpoint: the weights and the optimizer's variables after a number of steps.

A header of 16 bytes: the magic number `TSC1`, and as uint32 the number of vectors, the length of each and the
number of training steps. Then the vectors, one after the other, as float32: the weights first, then the
optimizer's slots in its own order. Everything is little-endian, and equal states are equal bytes.
"""

import struct

import numpy as np

from shared.errors import AttemptError
from shared.formats.weights import LAYOUT, Weights

_HEADER = struct.Struct("<4sIII")
_MAGIC = b"TSC1"


def pack(vectors: list[Weights], step: int) -> bytes:
    """Encode vectors of equal length, after `step` training steps."""
    header = _HEADER.pack(_MAGIC, len(vectors), len(vectors[0]), step)
    return header + np.stack(vectors).astype(LAYOUT).tobytes()


def unpack(state: bytes, count: int, length: int, step: int) -> list[Weights]:
    """Decode a checkpoint that must hold `count` vectors of `length` numbers after `step` training steps.

    Raises:
        AttemptError: the checkpoint is damaged, or belongs to another job.
    """
    expected = _HEADER.pack(_MAGIC, count, length, step)
    if state[: _HEADER.size] != expected:
        raise AttemptError(
            f"the checkpoint does not match the job: {_describe(state)} instead of {_describe(expected)}"
        )
    size = _HEADER.size + 4 * count * length
    if len(state) != size:
        raise AttemptError(f"the checkpoint is damaged: it has {len(state):,} bytes, not {size:,}")
    numbers = np.frombuffer(state, LAYOUT, offset=_HEADER.size)
    return list(numbers.reshape(count, length).astype(np.float32))


def _describe(state: bytes) -> str:
    if len(state) < _HEADER.size or not state.startswith(_MAGIC):
        return "an unknown format"
    _, count, length, step = _HEADER.unpack_from(state)
    return f"{count} vectors of {length:,} numbers after {step:,} steps"
