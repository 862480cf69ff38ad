"""The weights in a model's ONNX file, read without the `onnx` package, which only workers install.

An ONNX file is a protobuf message. Only the fields of the arrays of weights are read; their numbers are those
of onnx.proto.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.formats.weights import ARRAYS, Weights
from shared.schemas import ModelKind

_GRAPH = 7  # field of ModelProto
_INITIALIZER = 5  # field of GraphProto
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9  # fields of TensorProto
_FLOAT = 1  # value of the field _DATA_TYPE

_VARINT, _EIGHT_BYTES, _WITH_LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # encodings of fields
_SIZES = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


def read_weights(kind: ModelKind, onnx: bytes) -> Weights:
    """Return the weights of a model in the order of `shared.formats.weights`.

    Raises:
        ValueError: the file is damaged, or its model has another architecture.
    """
    try:
        arrays = dict(_arrays(memoryview(onnx)))
        parts = [
            _channels_last(arrays[f"{part}_{number}"], shape)
            for number, pair in enumerate(_pairs(kind), 1)
            for part, shape in zip(("kernel", "bias"), pair, strict=True)
        ]
    except (LookupError, UnicodeDecodeError) as error:
        raise ValueError(f"the ONNX file is damaged or not of a {kind} model: {error!r}") from error
    return np.concatenate([part.ravel() for part in parts])


def _pairs(kind: ModelKind) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the shapes of each layer's kernel and bias."""
    shapes = [array.shape for array in ARRAYS[kind]]
    return list(zip(shapes[::2], shapes[1::2], strict=True))


def _channels_last(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an array in Keras's order: ONNX has the output and input channels of a kernel first."""
    array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    if array.shape != shape:
        raise ValueError(f"the ONNX file has an array of shape {array.shape} instead of {shape}")
    return array


class _Field(NamedTuple):
    number: int
    value: int | memoryview


def _arrays(model: memoryview) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the name and value of each array of floats."""
    for graph in _messages(model, _GRAPH):
        for tensor in _messages(graph, _INITIALIZER):
            yield from _array(tensor)


def _array(tensor: memoryview) -> Iterator[tuple[str, NDArray[np.float32]]]:
    dims: list[int] = []
    fields: dict[int, int | memoryview] = {}
    for number, value in _fields(tensor):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else list(_varints(value))
        fields[number] = value
    name, data = fields.get(_NAME), fields.get(_RAW_DATA)
    if fields.get(_DATA_TYPE) == _FLOAT and isinstance(name, memoryview) and isinstance(data, memoryview):
        yield str(name, "utf-8"), np.frombuffer(data, "<f4").reshape(dims)


def _messages(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yield the fields with this number that are messages themselves."""
    for field in _fields(message):
        if field.number == number and isinstance(field.value, memoryview):
            yield field.value


def _fields(message: memoryview) -> Iterator[_Field]:
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, encoding = key >> 3, key & 7
        if encoding == _VARINT:
            value, place = _varint(message, place)
            yield _Field(number, value)
            continue
        size = _SIZES.get(encoding)
        if encoding == _WITH_LENGTH:
            size, place = _varint(message, place)
        if size is None or place + size > len(message):
            raise ValueError("the ONNX file is damaged: a field does not end within it")
        yield _Field(number, message[place : place + size])
        place += size


def _varints(packed: memoryview) -> Iterator[int]:
    place = 0
    while place < len(packed):
        value, place = _varint(packed, place)
        yield value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return the integer that begins at a place, seven bits a byte, and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if byte < 0x80:
            return value, place
