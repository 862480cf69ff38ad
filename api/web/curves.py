"""Curves and parallel coordinates as points of SVG polylines, in a stretchable square with sides of 100."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.schemas import AlignedSeries, SweepResult

_SIDE = 100.0
_MARGIN = 2.0  # so that a line at the border is drawn in its whole width
_LOG_RATIO = 50.0  # values with a greater ratio can be distinguished on a logarithmic axis only


@dataclass(frozen=True)
class Curves:
    """The curves of one metric for several jobs, on the same scale.

    Attributes:
        lines: the points of each job's polyline; empty if it has no values.
        low, high: the least and the greatest value; None if there is no value.
        epochs: number of epochs of the longest curve.
    """

    name: str
    lines: tuple[str, ...]
    low: float | None
    high: float | None
    epochs: int


@dataclass(frozen=True)
class Axis:
    """An axis of parallel coordinates.

    Attributes:
        name: the parameter or objective that the axis shows.
        x: the position of the axis, from 0 to 100.
        top, bottom: the values at its ends.
        is_log: whether it is logarithmic.
        words: the values of an axis of words, from top to bottom; empty for an axis of numbers.
    """

    name: str
    x: float
    top: Any
    bottom: Any
    is_log: bool
    words: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: axes, and a polyline for each result that has a value, in the order given."""

    axes: tuple[Axis, ...]
    lines: tuple[tuple[SweepResult, str], ...]


def curves(series: AlignedSeries) -> Curves:
    """Return the curves of a metric of compared jobs."""
    values = [value for line in series.y for value in line if value is not None]
    low, high = min(values, default=None), max(values, default=None)
    epochs = len(series.x)

    def points(line: Sequence[float | None]) -> str:
        return " ".join(
            f"{_place(index, 0, epochs - 1):.1f},{_SIDE - _place(value, low or 0.0, high or 0.0):.1f}"
            for index, value in enumerate(line)
            if value is not None
        )

    return Curves(series.name, tuple(map(points, series.y)), low, high, epochs)


def parallel(
    results: Sequence[SweepResult], names: Sequence[str], *, objective: str, minimized: bool
) -> Parallel:
    """Return the parallel coordinates of a sweep: an axis for each parameter, and one for the objective.

    Args:
        minimized: whether a smaller value of the objective is better; better values are placed higher.
    """
    valued = [result for result in results if result.value is not None]
    columns = {name: [result.parameters[name] for result in valued] for name in names}
    places = [*map(_places, columns.values())]
    objectives = [result.value or 0.0 for result in valued]
    axis, heights = _places(objectives)
    if minimized:
        axis, heights = (axis[1], axis[0], axis[2], axis[3]), [_SIDE - height for height in heights]
    everything = [*places, (axis, heights)]
    xs = [_SIDE * (index + 0.5) / len(everything) for index in range(len(everything))]
    axes = tuple(
        Axis(name, x, top, bottom, is_log, words)
        for name, x, ((top, bottom, is_log, words), _) in zip(
            [*names, objective], xs, everything, strict=True
        )
    )
    lines = tuple(
        (
            result,
            " ".join(
                f"{x:.1f},{_SIDE - column[1][row]:.1f}" for x, column in zip(xs, everything, strict=True)
            ),
        )
        for row, result in enumerate(valued)
    )
    return Parallel(axes, lines)


_Ends = tuple[Any, Any, bool, tuple[Any, ...]]


def _places(values: Sequence[Any]) -> tuple[_Ends, list[float]]:
    """Return the ends of an axis (top, bottom, logarithmic, words), and the height of each value on it."""
    if not all(isinstance(value, int | float) for value in values):
        words = tuple(sorted(set(map(str, values)), reverse=True))
        heights = [_place(words.index(str(value)), len(words) - 1, 0) for value in values]
        return (words[0], words[-1], False, words), heights
    low, high = min(values, default=0.0), max(values, default=0.0)
    is_log = low > 0 and high / low >= _LOG_RATIO
    scale = math.log if is_log else float
    return (high, low, is_log, ()), [_place(scale(value), scale(low), scale(high)) for value in values]


def _place(value: float, low: float, high: float) -> float:
    """Return the position of a value on a side of the square, with `low` and `high` at its ends."""
    share = 0.5 if high == low else (value - low) / (high - low)
    return _MARGIN + (_SIDE - 2 * _MARGIN) * share
