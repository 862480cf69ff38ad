"""The tab `training` of a job's page: a chart for each metric, and other jobs' curves over it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session
from starlette.datastructures import QueryParams

from api.jobs.metric_series import downsample
from api.services import Services
from api.web.metrics import Group, groups
from shared.errors import AmbiguousId, JobNotFound
from shared.lifecycle import TERMINAL, JobKind
from shared.schemas import Job, JobDetail, JobListQuery, Resolution, TrainSpec
from shared.schemas.ids import parse_id
from shared.store import job_lists, job_queries, metrics, timelines
from shared.store.metrics import MetricArrays
from shared.store.references import find_job

MAX_OVERLAID = 4
"""The maximum number of jobs that are drawn over a job; more curves cannot be distinguished."""

_STILL_POINTS = 120  # points of a curve without JavaScript
_MAX_STILL_STEPS = 50_000  # more steps are not read for a picture that a script replaces at once
_OFFERED = 30
_SHOWN_EPOCHS, _SHOWN_METRICS = 10, 12  # rows and columns of the table
_WIDTH, _HEIGHT = 600.0, 200.0


@dataclass(frozen=True)
class Curve:
    """A chart, with its picture for browsers without JavaScript.

    Attributes:
        stills: for each metric the points of an SVG polyline in a box of 600 by 200; empty without values.
    """

    group: Group
    stills: tuple[str, ...] = ()


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
        query: the page's query; `with` has the ids of the jobs to overlay, repeated or separated by commas.
    """
    if not isinstance(job.spec, TrainSpec):
        return {"curves": (), "trains": False}
    return services.database.read(partial(_read, job=job, query=query))


def follows_all(facts: dict[str, Any]) -> bool:
    """Return whether the page has to follow other jobs' events too."""
    return any(source.job.state not in TERMINAL for source in facts.get("sources", ())[1:])


def _read(session: Session, job: JobDetail, query: QueryParams) -> dict[str, Any]:
    by_epoch = metrics.read(session, job.id, Resolution.EPOCH)
    others = [] if "part" in query else _overlaid(session, job.id, ",".join(query.getlist("with")))
    recorded = job.progress.epoch if job.progress else 0
    of_steps = metrics.names_of_steps(session, job.id)
    return {
        "trains": True,
        "known": [*by_epoch, *of_steps],
        "curves": () if "part" in query else _curves(session, job, of_steps, by_epoch),
        "sources": [_source(session, each) for each in (job, *others)],
        "offered": [] if "part" in query else _offered(session, {job.id, *(each.id for each in others)}),
        "may_overlay": len(others) < MAX_OVERLAID,
        "metrics": list(by_epoch)[:_SHOWN_METRICS],
        "last_epochs": _last_epochs(by_epoch, recorded),
        "epochs_recorded": recorded,
    }


def _overlaid(session: Session, job_id: UUID, text: str) -> list[Job]:
    """Return the training jobs that an address names; texts that name no such job are left out."""
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
    query = JobListQuery(kind=JobKind.TRAIN)
    newest = [job for _, job in job_lists.page(session, query, limit=_OFFERED + len(shown))]
    return [job for job in newest if job.id not in shown and job.progress and job.progress.epoch][:_OFFERED]


def _last_epochs(by_epoch: MetricArrays, recorded: int) -> list[tuple[int, list[float | None]]]:
    """Return the newest epochs, newest first, counted from 1, each with its value of each shown metric."""
    shown = list(by_epoch.values())[:_SHOWN_METRICS]
    return [
        (epoch + 1, [float(values[epoch]) if np.isfinite(values[epoch]) else None for values in shown])
        for epoch in range(recorded - 1, max(-1, recorded - 1 - _SHOWN_EPOCHS), -1)
    ]


def _curves(session: Session, job: JobDetail, of_steps: Sequence[str], by_epoch: MetricArrays) -> list[Curve]:
    by_step: MetricArrays = {}
    if job.progress and job.progress.step <= _MAX_STILL_STEPS:
        by_step = metrics.read(session, job.id, Resolution.STEP)
    arrays = {Resolution.STEP: by_step, Resolution.EPOCH: by_epoch}
    return [
        Curve(group, _stills(arrays[group.resolution], group)) for group in groups(of_steps, list(by_epoch))
    ]


def _stills(arrays: MetricArrays, group: Group) -> tuple[str, ...]:
    shown = {name: arrays[name] for name in group.names if name in arrays}
    series = downsample(shown, group.resolution, _STILL_POINTS)
    values = [value for each in series for value in each.y if value is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = (high - low) or 1.0
    last = max((each.x[-1] for each in series if each.x), default=1) or 1
    return tuple(
        " ".join(
            f"{_WIDTH * x / last:.1f},{_HEIGHT * (1 - (y - low) / span):.1f}"
            for x, y in zip(each.x, each.y, strict=True)
            if y is not None
        )
        for each in series
    )
