"""The metrics of an epoch: any names, exact values, and no bytes that are read beyond what they say."""

import math
from typing import Any

import numpy as np
import pytest

from shared.formats.epochs import EpochMetrics, count_steps, pack_steps, unpack_steps

_EXTREMES = (0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0)


@pytest.mark.parametrize(
    "names", [("loss",), ("loss", "val/r²", 'with "quotes"'), tuple(map(str, range(200)))]
)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_steps_are_read_as_they_were_packed(names: tuple[str, ...], count: int) -> None:
    steps = {name: np.array(_EXTREMES[:count]) + number for number, name in enumerate(names)}

    content = pack_steps(steps)
    read = unpack_steps(content)

    assert list(read) == list(names)
    assert count_steps(content) == count_steps(content[:4]) == count
    for name, values in steps.items():
        assert read[name].tobytes() == values.tobytes()


def test_without_names_there_are_no_bytes() -> None:
    assert (pack_steps({}), unpack_steps(b""), count_steps(b"")) == (b"", {}, 0)


def test_the_layout_is_the_documented_one() -> None:
    content = pack_steps({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])})

    numbers = np.array([1.0, 2.0, 3.0, 4.0], "<f8").tobytes()
    assert content == b"\x02\0\0\0" + b"\x10\0\0\0" + b'["a", "b"]      ' + numbers


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x02",
        b"\x02\0\0\0\xff\xff\xff\xff[]",
        b'\xff\xff\xff\xff\x08\0\0\0["a"]   ',
        b'\x01\0\0\0\x08\0\0\0{"a":1} ' + bytes(8),
        b"\x01\0\0\0\x08\0\0\0[1]     " + bytes(8),
        b"\x01\0\0\0\x08\0\0\0no JSON " + bytes(8),
        pack_steps({"a": np.array([1.0, 2.0])})[:-1],
        pack_steps({"a": np.array([1.0, 2.0])}) + b"\0",
    ],
)
def test_other_bytes_are_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"are not the metrics of an epoch's steps|name of a metric"):
        unpack_steps(damaged)


def test_a_value_that_is_not_a_finite_number_is_none_and_named() -> None:
    steps = {"loss": [1.0, math.nan], "rate": [0.1, 0.1]}

    epoch = EpochMetrics.of(0, 0.1, {"loss": math.nan, "r2": -math.inf, "mae": float(np.float32(0.5))}, steps)

    assert epoch.values == {"loss": None, "r2": None, "mae": 0.5}
    assert epoch.not_finite == ("loss", "r2")
    assert EpochMetrics.of(0, 0.1, {}, steps).not_finite == ("loss",)


@pytest.mark.parametrize("name", ["", "-loss", "a\nb", "x" * 129, 7])
def test_a_name_that_cannot_be_shown_is_refused(name: Any) -> None:
    for values, steps in (({name: 1.0}, {}), ({}, {name: [1.0]})):
        with pytest.raises(ValueError, match="the name of a metric must be 1 to 128 printable characters"):
            EpochMetrics.of(0, 0.1, values, steps)


def test_too_many_names_and_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 256 metrics can be recorded together, not 257"):
        EpochMetrics.of(0, 0.1, {str(number): 0.0 for number in range(257)})
    for steps in ({"a": [1.0], "b": [1.0, 2.0]}, {"a": [[1.0]]}, {"a": 1.0}):
        with pytest.raises(ValueError, match="arrays of one length"):
            EpochMetrics.of(0, 0.1, {}, steps)
