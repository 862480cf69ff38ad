"""The weights of both architectures as bytes: float32, little-endian, one array after the other.

A model's `weights_sha256` is the SHA-256 of these bytes. The same bytes are the model's weights file for
TensorFlow.js, and a job with `keep_weights` stores them after each epoch.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.schemas import ModelKind

IMAGE_SHAPE = (28, 28, 1)
PIXELS = prod(IMAGE_SHAPE)
CLASSES = 10

Weights = npt.NDArray[np.float32]
"""All weights of a model as one flat vector: layer by layer, each layer's kernel, then its bias."""

LAYOUT = np.dtype("<f4")


class WeightArray(NamedTuple):
    """An array of weights: its name in Keras and TensorFlow.js, and its shape."""

    name: str
    shape: tuple[int, ...]


ARRAYS: dict[ModelKind, tuple[WeightArray, ...]] = {
    ModelKind.CNN: (
        WeightArray("conv1/kernel", (5, 5, 1, 8)),
        WeightArray("conv1/bias", (8,)),
        WeightArray("conv2/kernel", (5, 5, 8, 16)),
        WeightArray("conv2/bias", (16,)),
        WeightArray("probabilities/kernel", (256, CLASSES)),
        WeightArray("probabilities/bias", (CLASSES,)),
    ),
    ModelKind.DENSE: (
        WeightArray("hidden/kernel", (PIXELS, 42)),
        WeightArray("hidden/bias", (42,)),
        WeightArray("probabilities/kernel", (42, CLASSES)),
        WeightArray("probabilities/bias", (CLASSES,)),
    ),
}
"""The arrays of each architecture, in the order of the bytes."""

SHAPES = {kind: tuple(array.shape for array in arrays) for kind, arrays in ARRAYS.items()}


def parameter_count(kind: ModelKind) -> int:
    """Return the number of weights of the architecture."""
    return sum(map(prod, SHAPES[kind]))


def byte_count(kind: ModelKind) -> int:
    """Return the number of bytes of the architecture's weights."""
    return LAYOUT.itemsize * parameter_count(kind)


def split(kind: ModelKind, weights: Weights) -> list[Weights]:
    """Split the flat vector into the list of arrays that Keras's `set_weights` takes."""
    ends = np.cumsum([prod(shape) for shape in SHAPES[kind]])
    pieces = np.split(weights, ends[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, SHAPES[kind], strict=True)]


def offsets(kind: ModelKind) -> Iterator[tuple[WeightArray, int]]:
    """Yield each array of the architecture with the offset of its first byte."""
    place = 0
    for array in ARRAYS[kind]:
        yield array, place
        place += LAYOUT.itemsize * prod(array.shape)


def to_bytes(weights: Weights) -> bytes:
    """Return a flat vector of weights as bytes."""
    return weights.astype(LAYOUT, copy=False).tobytes()
