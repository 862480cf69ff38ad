"""Curves as SVG, with text in the page's colour and lines that are visible on light and dark pages."""

from collections.abc import Sequence
from html import escape
from itertools import cycle
from typing import NamedTuple

from shared.schemas import Comparison, Metrics

_WIDTH, _HEIGHT = 360, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 8, 4, 20
_OTHERS = 2  # metrics drawn if none is of the validation
_COLOURS = (
    "#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444",
    "#14b8a6", "#eab308", "#ec4899", "#84cc16", "#6366f1",
)  # fmt: skip


class Line(NamedTuple):
    """A curve.

    Attributes:
        name: the name in the legend.
        axis: the unit of x: epoch or step.
    """

    name: str
    axis: str
    x: Sequence[float]
    y: Sequence[float]


def lines_of(metrics: Metrics) -> list[Line]:
    """Return the curves of a job's metrics; epochs count from 1, and missing values are left out."""
    return [
        Line(series.name, str(series.resolution), *zip(*points, strict=True))
        for series in metrics.series
        if (points := _points(series.x, series.y, first=1 if series.resolution == "epoch" else 0))
    ]


def aligned_lines(comparison: Comparison) -> list[Line]:
    """Return compared jobs' validation curves, or else their first curves, named by the ends of their ids."""
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
    """Return a chart of curves over one axis, with a title above and a legend below."""
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in line.y]
    x_span, y_span = (min(xs), max(xs)), (min(ys), max(ys))
    coloured = list(zip(lines, cycle(_COLOURS)))
    parts = [_axes(x_span, y_span, lines[0].axis)]
    parts += [_curve(line, colour, x_span, y_span) for line, colour in coloured]
    names = " &#160; ".join(
        f'<span style="color:{colour}">&#9632;</span>&#160;{escape(line.name)}' for line, colour in coloured
    )
    return (
        f'<div style="width:{_WIDTH}px;font:11px sans-serif"><b>{escape(title)}</b>'
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" fill="currentColor">{"".join(parts)}</svg>'
        f"<div>{names}</div></div>"
    )


def _axes(x_span: tuple[float, float], y_span: tuple[float, float], axis: str) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    return (
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="currentColor" opacity=".5"/>'
        + _text(_LEFT - 4, _TOP + 8, f"{y_span[1]:.3g}", "end")
        + _text(_LEFT - 4, bottom, f"{y_span[0]:.3g}", "end")
        + _text(_LEFT, bottom + 14, f"{x_span[0]:g}", "start")
        + _text(right, bottom + 14, f"{x_span[1]:g}", "end")
        + _text((_LEFT + right) / 2, bottom + 14, axis, "middle")
    )


def _curve(line: Line, colour: str, x_span: tuple[float, float], y_span: tuple[float, float]) -> str:
    points = [
        (_scaled(x, x_span, _LEFT, _WIDTH - _RIGHT), _scaled(y, y_span, _HEIGHT - _BOTTOM, _TOP))
        for x, y in zip(line.x, line.y, strict=True)
    ]
    if len(points) == 1:
        [(x, y)] = points
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _scaled(value: float, span: tuple[float, float], start: float, end: float) -> float:
    least, greatest = span
    share = (value - least) / (greatest - least) if greatest > least else 0.5
    return start + share * (end - start)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'
