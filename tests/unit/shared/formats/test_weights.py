from itertools import pairwise
from math import prod

import numpy as np
import pytest

from shared.formats.weights import ARRAYS, byte_count, offsets, parameter_count, split, to_bytes
from shared.schemas import ModelKind


@pytest.mark.parametrize(("kind", "count"), [(ModelKind.CNN, 5_994), (ModelKind.DENSE, 33_400)])
def test_an_architecture_has_four_bytes_a_parameter(kind: ModelKind, count: int) -> None:
    assert parameter_count(kind) == count
    assert byte_count(kind) == 4 * count


@pytest.mark.parametrize("kind", ModelKind)
def test_arrays_lie_one_after_the_other(kind: ModelKind) -> None:
    places = list(offsets(kind))

    assert [array for array, _ in places] == list(ARRAYS[kind])
    assert places[0][1] == 0
    assert all(after == place + 4 * prod(array.shape) for (array, place), (_, after) in pairwise(places))
    assert places[-1][1] + 4 * prod(places[-1][0].shape) == byte_count(kind)


@pytest.mark.parametrize("kind", ModelKind)
def test_an_offset_leads_to_the_array(kind: ModelKind) -> None:
    weights = np.arange(parameter_count(kind), dtype=np.float32)
    content = to_bytes(weights)

    for (array, place), piece in zip(offsets(kind), split(kind, weights), strict=True):
        read = np.frombuffer(content, "<f4", prod(array.shape), place).reshape(array.shape)
        np.testing.assert_array_equal(read, piece)
