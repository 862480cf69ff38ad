"""Curves as SVG, which has the page's text colour, and lines that are seen on light and dark pages."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from shared.schemas import Comparison, Metrics

_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 8, 24, 40
_OTHERS = 2  # metrics that are drawn where none is of validation
_LEGEND_COLUMNS, _LEGEND_HEIGHT = 2, 16
_COLOURS = (
    "#3b82f6",
    "#f97316",
    "#10b981",
    "#a855f7",
    "#ef4444",
    "#14b8a6",
    "#eab308",
    "#ec4899",
    "#84cc16",
    "#6366f1",
)


class Line(NamedTuple):
    """A curve.

    Attributes:
        name: what the legend calls it.
        axis: the unit of x: epoch or step.
    """

    name: str
    axis: str
    x: Sequence[float]
    y: Sequence[float]


def lines_of(metrics: Metrics) -> list[Line]:
    """Return the curves of a job's metrics; epochs count from 1, and what is no number is left out."""
    return [
        Line(series.name, str(series.resolution), *zip(*points, strict=True))
        for series in metrics.series
        if (points := _points(series.x, series.y, first=1 if series.resolution == "epoch" else 0))
    ]


def aligned_lines(comparison: Comparison) -> list[Line]:
    """Return the validation curves of compared jobs, or some others, named by the ends of the jobs' ids."""
    validation = [series for series in comparison.series if series.name.startswith("val_")]
    return [
        Line(f"{series.name} {str(job.id)[-6:]}", "epoch", *zip(*points, strict=True))
        for series in validation or comparison.series[:_OTHERS]
        for job, values in zip(comparison.jobs, series.y, strict=True)
        if (points := _points(series.x, values, first=1))
    ]


def _points(x: Sequence[int], y: Sequence[float | None], *, first: int) -> list[tuple[int, float]]:
    return [(at + first, value) for at, value in zip(x, y, strict=True) if value is not None]


def chart(title: str, lines: Sequence[Line]) -> str:
    """Return a chart of curves over one axis, with a legend."""
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in line.y]
    x_span, y_span = (min(xs), max(xs)), (min(ys), max(ys))
    height = _HEIGHT + _LEGEND_HEIGHT * ((len(lines) - 1) // _LEGEND_COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        'style="font:11px sans-serif" fill="currentColor">',
        _text(_LEFT, 14, title, weight="bold"),
        *_axes(x_span, y_span, lines[0].axis),
        *(_curve(line, index, x_span, y_span) for index, line in enumerate(lines)),
        *_legend(lines),
        "</svg>",
    ]
    return "".join(parts)


def _axes(x_span: tuple[float, float], y_span: tuple[float, float], axis: str) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    frame = f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="currentColor" opacity=".5"/>'
    return [
        frame,
        _text(_LEFT - 4, _TOP + 8, f"{y_span[1]:.3g}", "end"),
        _text(_LEFT - 4, bottom, f"{y_span[0]:.3g}", "end"),
        _text(_LEFT, bottom + 14, f"{x_span[0]:g}"),
        _text(right, bottom + 14, f"{x_span[1]:g}", "end"),
        _text((_LEFT + right) / 2, bottom + 14, axis, "middle"),
    ]


def _curve(line: Line, index: int, x_span: tuple[float, float], y_span: tuple[float, float]) -> str:
    points = [
        (_scaled(x, x_span, _LEFT, _WIDTH - _RIGHT), _scaled(y, y_span, _HEIGHT - _BOTTOM, _TOP))
        for x, y in zip(line.x, line.y, strict=True)
    ]
    colour = _COLOURS[index % len(_COLOURS)]
    if len(points) == 1:
        [(x, y)] = points
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _legend(lines: Sequence[Line]) -> list[str]:
    width = (_WIDTH - _LEFT) / _LEGEND_COLUMNS
    parts = []
    for index, line in enumerate(lines):
        row, column = divmod(index, _LEGEND_COLUMNS)
        x, y = _LEFT + column * width, _HEIGHT - 8 + row * _LEGEND_HEIGHT
        colour = _COLOURS[index % len(_COLOURS)]
        parts += [
            f'<rect x="{x:.0f}" y="{y - 8}" width="10" height="8" fill="{colour}"/>',
            _text(x + 14, y, line.name),
        ]
    return parts


def _scaled(value: float, span: tuple[float, float], start: float, end: float) -> float:
    least, greatest = span
    share = (value - least) / (greatest - least) if greatest > least else 0.5
    return start + share * (end - start)


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )
