"""Metrics as clients receive them: downsampled without losing a peak, as JSON, CSV or NDJSON."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.schemas import JobMetrics, Resolution, Series
from shared.store.metrics import MetricArrays

_COLUMNS = ("job_id", "name", "resolution", "x", "y", "min", "max")


def downsample(
    metrics: MetricArrays, resolution: Resolution, max_points: int, *, first: int = 0
) -> tuple[Series, ...]:
    """Return each metric with at most `max_points` points.

    A point of a downsampled metric is the last of several, with their minimum and maximum.

    Args:
        first: the epoch or step of the first value of each array.
    """
    return tuple(_series(name, resolution, y, max_points, first) for name, y in metrics.items())


def to_csv(metrics: Sequence[JobMetrics]) -> str:
    """Return every point of every metric as a line of CSV; `min` and `max` are empty if not downsampled."""
    file = StringIO()
    writer = csv.DictWriter(file, _COLUMNS)
    writer.writeheader()
    writer.writerows(_points(metrics))
    return file.getvalue()


def to_ndjson(metrics: Sequence[JobMetrics]) -> str:
    """Return every point of every metric as a line of JSON; `min` and `max` are null if not downsampled."""
    return "".join(f"{json.dumps(point)}\n" for point in _points(metrics))


def _series(name: str, resolution: Resolution, y: NDArray[np.float64], max_points: int, first: int) -> Series:
    total = len(y)
    points: dict[str, NDArray[Any]] = {"x": np.arange(first, first + total), "y": y}
    if total > max_points:
        edges = np.linspace(0, total, max_points + 1).astype(int)
        starts, last = edges[:-1], edges[1:] - 1
        minimum, maximum = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
        points = {"x": first + last, "y": y[last], "min": minimum, "max": maximum}
    return Series(
        name=name,
        resolution=resolution,
        total_points=total,
        downsampled=total > max_points,
        **{field: _numbers(values) for field, values in points.items()},
    )


def _numbers(values: NDArray[Any]) -> tuple[Any, ...]:
    """Return the values of an array, with None for each value that is not finite."""
    if np.isfinite(values).all():
        return tuple(values.tolist())
    return tuple(value if math.isfinite(value) else None for value in values.tolist())


def _points(metrics: Sequence[JobMetrics]) -> Iterator[dict[str, Any]]:
    for job in metrics:
        for series in job.series:
            missing = (None,) * len(series.x)
            minima, maxima = series.min or missing, series.max or missing
            for x, y, minimum, maximum in zip(series.x, series.y, minima, maxima, strict=True):
                row = (str(job.job_id), series.name, series.resolution, x, y, minimum, maximum)
                yield dict(zip(_COLUMNS, row, strict=True))
