"""Training metrics, and comparisons of jobs."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from shared.schemas.base import Response
from shared.schemas.evaluations import JobEvaluation
from shared.schemas.jobs import Job


class EpochMetrics(Response):
    """The metrics of one training epoch.

    Attributes:
        epoch: from 0.
        loss: mean categorical cross-entropy over the training images, each measured in its own training step.
        accuracy: share of the training images predicted correctly in their training step, 0 to 1.
        val_loss: mean loss over the validation images, after the epoch.
        val_accuracy: share of the validation images predicted correctly, after the epoch.
        seconds: wall time.
        batch_loss: each batch's own loss, in order, as TensorFlow.js reports it (not a running mean).
        batch_accuracy: each batch's own accuracy, in order.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    batch_loss: tuple[float, ...]
    batch_accuracy: tuple[float, ...]


class Resolution(StrEnum):
    """The unit of a series' x axis."""

    EPOCH = "epoch"
    STEP = "step"


class MetricName(StrEnum):
    """A training metric. The validation metrics have the resolution `epoch` only."""

    LOSS = "loss"
    ACCURACY = "accuracy"
    VAL_LOSS = "val_loss"
    VAL_ACCURACY = "val_accuracy"


class Series(Response):
    """The values of one metric over a training.

    Attributes:
        x: epochs from 0, or steps over all epochs from 0.
        total_points: number of points before downsampling, of the range if one is requested.
        downsampled: whether each point stands for several, of which x and y are the last.
        min: the least y that each point stands for; only if downsampled.
        max: the greatest y that each point stands for; only if downsampled.
    """

    name: MetricName
    resolution: Resolution
    x: tuple[int, ...]
    y: tuple[float, ...]
    total_points: int = 0
    downsampled: bool = False
    min: tuple[float, ...] | None = None
    max: tuple[float, ...] | None = None


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
        y: one list for each job, in the jobs' order; null where the job has no such epoch.
    """

    name: MetricName
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
