"""How a training went, and jobs side by side."""

from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from shared.schemas.base import Response
from shared.schemas.evaluations import JobEvaluation
from shared.schemas.jobs import Job


class EpochMetrics(Response):
    """What one epoch of training showed.

    Attributes:
        epoch: counted from 0.
        loss: mean categorical cross-entropy over the epoch's training images, as they were trained on.
        accuracy: share of them that were predicted right, 0 to 1.
        val_loss: the same over the validation images, after the epoch.
        val_accuracy: share of validation images predicted right.
        seconds: wall time.
        batch_loss: each batch's own loss, in order, as TensorFlow.js reports it (not a running mean).
        batch_accuracy: each batch's own accuracy.
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
    """What a curve's x counts."""

    EPOCH = "epoch"
    STEP = "step"


class MetricName(StrEnum):
    """What a curve shows. The last two are measured once an epoch."""

    LOSS = "loss"
    ACCURACY = "accuracy"
    VAL_LOSS = "val_loss"
    VAL_ACCURACY = "val_accuracy"


class Series(Response):
    """One curve.

    Attributes:
        name: `loss`, `accuracy`, `val_loss` or `val_accuracy`.
        resolution: what x counts.
        x: 0-based epochs, or 0-based steps over all epochs.
        y: the values.
        total_points: that there are; with more than were asked for, each point here stands for several.
        downsampled: whether it is so: then x and y are the last of the points that each stands for.
        min: the least of them; only where it is so.
        max: the greatest of them; likewise.
    """

    name: str
    resolution: Literal["epoch", "step"]
    x: tuple[int, ...]
    y: tuple[float, ...]
    total_points: int = 0
    downsampled: bool = False
    min: tuple[float, ...] | None = None
    max: tuple[float, ...] | None = None


class Metrics(Response):
    """A job's curves so far."""

    series: tuple[Series, ...]


class JobMetrics(Metrics):
    """The curves of one of several jobs."""

    job_id: UUID


class ManyMetrics(Response):
    """Several jobs' curves, in the order in which they were asked for."""

    data: tuple[JobMetrics, ...]


class AlignedSeries(Response):
    """One curve of several jobs over the same epochs.

    Attributes:
        name: as in `Series`.
        x: 0-based epochs, as many as the longest of the jobs has.
        y: a list a job, in the jobs' order; null where the job has no such epoch.
    """

    name: str
    x: tuple[int, ...]
    y: tuple[tuple[float | None, ...], ...]


class Comparison(Response):
    """Some jobs side by side; every list has an entry a job, in the order in which they were asked for.

    Attributes:
        jobs: as they are now.
        differing: the fields of their specifications that are not the same in all; null where a job's kind
            has no such field.
        series: curves of the training jobs among them; an evaluation job's are empty.
        evaluations: null where there is none; without the misclassified images.
    """

    jobs: tuple[Job, ...]
    differing: dict[str, tuple[Any, ...]]
    series: tuple[AlignedSeries, ...]
    evaluations: tuple[JobEvaluation | None, ...]
