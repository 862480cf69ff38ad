"""Training metrics, and comparisons of jobs."""

import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from shared.schemas.base import Response
from shared.schemas.evaluations import JobEvaluation
from shared.schemas.jobs import Job
from shared.texts import PRINTABLE


class Resolution(StrEnum):
    """The unit of a series' x axis."""

    EPOCH = "epoch"
    STEP = "step"


Metric = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE)]
"""The name of a metric, as the training code that reports it chose it."""


class Mode(StrEnum):
    """Whether the least or the greatest value of a metric is the best."""

    MIN = "min"
    MAX = "max"


_PARTS = ("evaluation_", "val_")  # what names begin with but for those of training
_MINIMIZED = frozenset({"loss", "error", "mae", "mse", "rmse", "mape", "nll", "perplexity", "wer", "cer"})


def mode_of(metric: str) -> Mode:
    """Return the mode that a metric's name suggests: the least is the best of a loss or an error."""
    words = re.findall(r"[a-z0-9]+", metric.lower())
    return Mode.MAX if _MINIMIZED.isdisjoint(words) else Mode.MIN


@lru_cache(1_024)
def _place(name: str) -> tuple[int, bool, str]:
    part = next((number for number, part in enumerate(_PARTS) if name.startswith(part)), len(_PARTS))
    return len(_PARTS) - part, mode_of(name) is Mode.MAX, name


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of metrics in the order in which they are shown: of training, validation, evaluation."""
    return sorted(names, key=_place)


def main_metric(names: Collection[str]) -> str | None:
    """Return the metric that tells most of a training where one is shown: of validation, and of no loss."""

    def rank(name: str) -> tuple[bool, bool, str]:
        return not name.startswith("val_"), mode_of(name) is Mode.MIN, name

    return min(names, key=rank, default=None)


class Series(Response):
    """The values of one metric over a training.

    Attributes:
        x: epochs from 0, or steps over all epochs from 0.
        y: null where the metric has no value, or one that is not a finite number.
        total_points: number of points before downsampling, of the range if one is requested.
        downsampled: whether each point stands for several, of which x and y are the last.
        min: the least y that each point stands for; only if downsampled.
        max: the greatest y that each point stands for; only if downsampled.
    """

    name: str
    resolution: Resolution
    x: tuple[int, ...]
    y: tuple[float | None, ...]
    total_points: int = 0
    downsampled: bool = False
    min: tuple[float | None, ...] | None = None
    max: tuple[float | None, ...] | None = None


class Metrics(Response):
    """A job's training metrics recorded so far."""

    series: tuple[Series, ...]


class JobMetrics(Metrics):
    """The training metrics of one of several jobs."""

    job_id: UUID


class ManyMetrics(Response):
    """The training metrics of several jobs, in the order in which the request names them."""

    data: tuple[JobMetrics, ...]


class AlignedSeries(Response):
    """The values of one metric for several jobs over the same epochs.

    Attributes:
        x: epochs from 0, up to the last epoch of the longest job.
        y: one list for each job, in the jobs' order; null where the job has no value of the epoch.
    """

    name: str
    x: tuple[int, ...]
    y: tuple[tuple[float | None, ...], ...]


class Comparison(Response):
    """Jobs side by side; every list has one entry for each job, in the order in which the request names them.

    Attributes:
        jobs: their present state.
        differing: the fields of their specs that differ, with each job's value; null if its kind has no such
            field.
        series: training metrics by epoch; empty lists for evaluation jobs.
        evaluations: null if the job has none; without the misclassified images.
    """

    jobs: tuple[Job, ...]
    differing: dict[str, tuple[Any, ...]]
    series: tuple[AlignedSeries, ...]
    evaluations: tuple[JobEvaluation | None, ...]
