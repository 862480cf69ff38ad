"""The metrics of an epoch, by name: their values, and a value for each of its steps, packed into bytes.

The bytes of the steps, little-endian: the number of steps and the length of the names, each a uint32; the
names, a JSON list in UTF-8, padded with spaces to a multiple of 8 bytes; then for each name a float64 a step.
Without names there are no bytes.
"""

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.texts import PRINTABLE

MAX_METRICS = 256
"""The maximum number of an epoch's values, and of metrics with a value for each step."""
MAX_NAME = 128
"""The maximum length of a metric's name, in characters."""

_COUNTS, _DOUBLE = np.dtype("<u4"), np.dtype("<f8")
_HEADER = 2 * _COUNTS.itemsize

StepValues = dict[str, npt.NDArray[np.float64]]
"""For each metric an array of shape (steps,)."""


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one training epoch.

    Attributes:
        epoch: the number of the epoch, from 0.
        seconds: wall time.
        values: the value of each metric, by name; None for a number that is not finite.
        steps: the values of the metrics that have one for each step, in the byte layout of this module.
        not_finite: the names of the metrics with a value that is not a finite number.
    """

    epoch: int
    seconds: float
    values: dict[str, float | None]
    steps: bytes = b""
    not_finite: tuple[str, ...] = field(default=(), compare=False)

    @property
    def summary(self) -> dict[str, Any]:
        """The metrics without the values of the steps, as events contain them."""
        return {"epoch": self.epoch, "seconds": self.seconds, "values": self.values}

    @classmethod
    def of(
        cls,
        epoch: int,
        seconds: float,
        values: Mapping[str, float],
        steps: Mapping[str, npt.ArrayLike] | None = None,
    ) -> "EpochMetrics":
        """Return an epoch's metrics, from numbers and arrays of any kind.

        Args:
            steps: for each metric an array of shape (steps,), all of the same length.

        Raises:
            ValueError: a name is not 1 to 128 printable characters, or begins with `-`; there are more than
                256 names; or the arrays differ in their shape.
        """
        arrays = {name: np.asarray(array, _DOUBLE) for name, array in (steps or {}).items()}
        require_names(values)
        require_names(arrays)
        infinite = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        finite_values = finite(values)
        not_finite = [name for name, value in finite_values.items() if value is None]
        names = tuple(dict.fromkeys([*not_finite, *infinite]))
        return cls(epoch, seconds, finite_values, pack_steps(arrays), names)


def finite(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return numbers of any kind as floats, with None for a value that is None or not finite."""
    return {
        name: None if value is None or not math.isfinite(value) else float(value)
        for name, value in values.items()
    }


def pack_steps(steps: StepValues) -> bytes:
    """Return the values of an epoch's steps as bytes.

    Raises:
        ValueError: the arrays do not have one dimension, or differ in their length.
    """
    if not steps:
        return b""
    shapes = {array.shape for array in steps.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"the metrics of an epoch's steps must be arrays of one length, not {shapes}")
    [[count]] = shapes
    names = json.dumps(list(steps), ensure_ascii=False).encode()
    names += b" " * (-len(names) % _DOUBLE.itemsize)
    counts = np.array([count, len(names)], _COUNTS).tobytes()
    return b"".join(
        [counts, names, *(array.astype(_DOUBLE, copy=False).tobytes() for array in steps.values())]
    )


def unpack_steps(content: bytes) -> StepValues:
    """Return the values of an epoch's steps from their bytes; the arrays are views of the bytes.

    Raises:
        ValueError: the bytes are not such values.
    """
    if not content:
        return {}
    count, begin, names = _read_header(content)
    values = np.frombuffer(content, _DOUBLE, offset=begin).reshape(len(names), count)
    return dict(zip(names, values, strict=True))


def count_steps(content: bytes) -> int:
    """Return how many steps an epoch has, from the bytes of their values; the first 4 bytes suffice."""
    return int(np.frombuffer(content, _COUNTS, 1)[0]) if content else 0


def _read_header(content: bytes) -> tuple[int, int, Sequence[str]]:
    """Return the number of steps, the offset of their values, and the names."""
    if len(content) >= _HEADER:
        count, length = map(int, np.frombuffer(content, _COUNTS, 2))
        begin = _HEADER + length
        if begin <= len(content):
            names = _parsed(content[_HEADER:begin])
            if isinstance(names, list) and len(content) == begin + len(names) * count * _DOUBLE.itemsize:
                require_names(names)
                return count, begin, names
    raise ValueError(f"{len(content):,} bytes are not the metrics of an epoch's steps")


def _parsed(names: bytes) -> Any:
    with suppress(ValueError):
        return json.loads(names)
    return None


def require_names(names: Collection[str]) -> None:
    """Raise ValueError unless these can be the names of the metrics of an epoch, or of a result."""
    if len(names) > MAX_METRICS:
        raise ValueError(f"at most {MAX_METRICS} metrics can be recorded together, not {len(names):,}")
    for name in names:
        if not isinstance(name, str) or not _is_name(name):
            raise ValueError(
                f"the name of a metric must be 1 to {MAX_NAME} printable characters and not begin with `-`, "
                f"not {name!r}"
            )


def _is_name(name: str) -> bool:
    return 1 <= len(name) <= MAX_NAME and not name.startswith("-") and bool(re.match(PRINTABLE, name))
