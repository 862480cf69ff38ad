"""Curves for people to look at: no more points than were asked for, and no peak lost."""

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.schemas import JobMetrics, Resolution, Series
from shared.store.metrics import MetricArrays

_FIELDS = ("job_id", "name", "resolution", "x", "y", "min", "max")


def series(curves: MetricArrays, resolution: Resolution, max_points: int) -> tuple[Series, ...]:
    """Each curve, with at most `max_points` points."""
    return tuple(_series(name, resolution, y, max_points) for name, y in curves.items())


def to_csv(metrics: Sequence[JobMetrics]) -> str:
    """Every point of every curve, one a line; `min` and `max` are empty where points are themselves."""
    file = StringIO()
    writer = csv.DictWriter(file, _FIELDS)
    writer.writeheader()
    writer.writerows(_points(metrics))
    return file.getvalue()


def to_ndjson(metrics: Sequence[JobMetrics]) -> str:
    """The same as lines of JSON."""
    return "".join(f"{json.dumps(point)}\n" for point in _points(metrics))


def _series(name: str, resolution: Resolution, y: NDArray[np.float64], max_points: int) -> Series:
    total = len(y)
    if total <= max_points:
        x = np.arange(total)
        return _described(name, resolution, total, x=x, y=y)
    edges = np.linspace(0, total, max_points + 1).astype(int)
    starts, last = edges[:-1], edges[1:] - 1
    least, greatest = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    return _described(name, resolution, total, x=last, y=y[last], min=least, max=greatest)


def _described(name: str, resolution: Resolution, total: int, **points: NDArray[Any]) -> Series:
    return Series(
        name=name,
        resolution=resolution.value,
        total_points=total,
        downsampled="min" in points,
        **{field: tuple(values.tolist()) for field, values in points.items()},
    )


def _points(metrics: Sequence[JobMetrics]) -> Iterator[dict[str, Any]]:
    for of_job in metrics:
        for one in of_job.series:
            nothing = (None,) * len(one.x)
            for x, y, least, greatest in zip(
                one.x, one.y, one.min or nothing, one.max or nothing, strict=True
            ):
                values = (str(of_job.job_id), one.name, one.resolution, x, y, least, greatest)
                yield dict(zip(_FIELDS, values, strict=True))
