"""The tab `training` of a job's page: the four curves of the codelab, those of other jobs over them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session
from starlette.datastructures import QueryParams

from api.jobs.metric_series import downsample
from api.services import Services
from shared.errors import AmbiguousId, JobNotFound
from shared.lifecycle import TERMINAL, JobKind
from shared.schemas import Job, JobDetail, JobListQuery, JobOrder, MetricName, Resolution, TrainSpec
from shared.schemas.ids import parse_id
from shared.store import job_lists, job_queries, metrics, timelines
from shared.store.metrics import MetricArrays
from shared.store.references import find_job

MAX_OVERLAID = 4
"""The most jobs that are drawn over a job; more curves cannot be told apart."""

_STILL_POINTS = 120  # of a curve without JavaScript
_MAX_STILL_STEPS = 50_000  # more are not read for a picture that a script replaces at once
_OFFERED = 30
_SHOWN_EPOCHS = 10
_WIDTH, _HEIGHT = 600.0, 200.0


@dataclass(frozen=True)
class Curve:
    """One of the four charts.

    Attributes:
        names: of its metrics.
        stills: for each metric the points of an SVG polyline in a box of 600 by 200; empty without values.
    """

    id: str
    title: str
    resolution: Resolution
    names: tuple[MetricName, ...]
    stills: tuple[str, ...] = ()


CURVES = (
    Curve("batch-loss", "Batch loss", Resolution.STEP, (MetricName.LOSS,)),
    Curve("batch-accuracy", "Batch accuracy", Resolution.STEP, (MetricName.ACCURACY,)),
    Curve("epoch-loss", "Epoch loss", Resolution.EPOCH, (MetricName.LOSS, MetricName.VAL_LOSS)),
    Curve(
        "epoch-accuracy", "Epoch accuracy", Resolution.EPOCH, (MetricName.ACCURACY, MetricName.VAL_ACCURACY)
    ),
)
"""The codelab's charts."""


@dataclass(frozen=True)
class Source:
    """A job whose curves are shown.

    Attributes:
        seconds: the wall time of each recorded epoch.
    """

    job: Job
    steps_per_epoch: int
    seconds: Sequence[float]


def read(services: Services, job: JobDetail, query: QueryParams) -> dict[str, Any]:
    """Return the template's variables.

    Args:
        query: of the page's address; `with`: ids of the jobs to overlay, each a value or with commas between.
    """
    if not isinstance(job.spec, TrainSpec):
        return {"curves": ()}
    return services.database.read(partial(_read, job=job, query=query))


def follows_all(facts: dict[str, Any]) -> bool:
    """Return whether the page has to follow other jobs' events too."""
    return any(source.job.state not in TERMINAL for source in facts.get("sources", ())[1:])


def _read(session: Session, job: JobDetail, query: QueryParams) -> dict[str, Any]:
    by_epoch = metrics.read(session, job.id, Resolution.EPOCH, tuple(MetricName))
    others = [] if "part" in query else _overlaid(session, job.id, ",".join(query.getlist("with")))
    return {
        "curves": CURVES if "part" in query else _with_stills(session, job, by_epoch),
        "sources": [_source(session, each) for each in (job, *others)],
        "offered": [] if "part" in query else _offered(session, {job.id, *(each.id for each in others)}),
        "may_overlay": len(others) < MAX_OVERLAID,
        "last_epochs": _last_epochs(by_epoch),
        "epochs_recorded": len(by_epoch[MetricName.LOSS]),
    }


def _overlaid(session: Session, job_id: UUID, text: str) -> list[Job]:
    """Return the training jobs that an address names; what is no such job is left out."""
    jobs: dict[UUID, Job] = {}
    for part in text.split(","):
        with suppress(JobNotFound, AmbiguousId):
            other = job_queries.summary(session, find_job(session, parse_id(part.strip()) or ""))
            if other.kind is JobKind.TRAIN and other.id != job_id:
                jobs[other.id] = other
    return list(jobs.values())[:MAX_OVERLAID]


def _source(session: Session, job: Job) -> Source:
    assert isinstance(job.spec, TrainSpec)
    return Source(job, job.spec.steps_per_epoch, timelines.epoch_seconds(session, job.id))


def _offered(session: Session, shown: set[UUID]) -> list[Job]:
    """Return the newest training jobs that are not shown."""
    query = JobListQuery(kind=JobKind.TRAIN, sort=JobOrder.NEWEST)
    newest = [job for _, job in job_lists.page(session, query, limit=_OFFERED + len(shown))]
    return [job for job in newest if job.id not in shown and job.progress and job.progress.epoch][:_OFFERED]


def _last_epochs(by_epoch: MetricArrays) -> list[dict[str, float]]:
    """Return the newest epochs, newest first; `epoch` counts from 1."""
    recorded = len(by_epoch[MetricName.LOSS])
    return [
        {"epoch": epoch + 1, **{name.value: float(values[epoch]) for name, values in by_epoch.items()}}
        for epoch in range(recorded - 1, max(-1, recorded - 1 - _SHOWN_EPOCHS), -1)
    ]


def _with_stills(session: Session, job: JobDetail, by_epoch: MetricArrays) -> list[Curve]:
    by_step: MetricArrays = {}
    if job.progress and job.progress.step <= _MAX_STILL_STEPS:
        by_step = metrics.read(session, job.id, Resolution.STEP, tuple(MetricName))
    arrays = {Resolution.STEP: by_step, Resolution.EPOCH: by_epoch}
    return [
        Curve(curve.id, curve.title, curve.resolution, curve.names, _stills(arrays[curve.resolution], curve))
        for curve in CURVES
    ]


def _stills(arrays: MetricArrays, curve: Curve) -> tuple[str, ...]:
    shown = {name: arrays[name] for name in curve.names if name in arrays}
    series = downsample(shown, curve.resolution, _STILL_POINTS)
    values = [value for each in series for value in each.y]
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = (high - low) or 1.0
    last = max((each.x[-1] for each in series if each.x), default=1) or 1
    return tuple(
        " ".join(
            f"{_WIDTH * x / last:.1f},{_HEIGHT * (1 - (y - low) / span):.1f}"
            for x, y in zip(each.x, each.y, strict=True)
        )
        for each in series
    )
