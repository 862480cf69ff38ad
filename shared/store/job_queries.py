"""Reads of jobs as API schemas."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from statistics import fmean
from typing import Any
from uuid import UUID

from sqlalchemy import and_, case, or_, select
from sqlalchemy.orm import Session, selectinload

from shared import schemas
from shared.db import tables
from shared.db.clock import Now, database_now
from shared.db.tables import IS_COMPLETE, STEP_COUNT, Epoch, Job
from shared.errors import JobNotFound
from shared.formats.epochs import count_steps
from shared.lifecycle import TERMINAL, JobKind, JobState
from shared.store import rights, waits
from shared.store.rights import Actor
from shared.store.submissions import NewJob

_RECENT_EPOCHS = 5  # only the last epochs count for the ETA: a job's first epoch includes compilation


Mark = tuple[int | None, datetime | None]
"""A job's version, and the end of its lease, which a write of steps moves without a new version."""


def get(session: Session, job_id: UUID, *, now: Now = database_now) -> schemas.JobDetail:
    """Return a job with its attempts and, while it is queued, its position and the reason why it waits.

    Raises:
        JobNotFound: there is no such job.
    """
    return get_marked(session, job_id, now=now)[0]


def get_marked(session: Session, job_id: UUID, *, now: Now = database_now) -> tuple[schemas.JobDetail, Mark]:
    """Return a job as `get` does, and its mark, which differs once the job has changed."""
    row = session.get(tables.Job, job_id, options=[selectinload(tables.Job.attempts)])
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return _details(session, [row], now)[0], (row.version, row.lease_expires_at)


def details(session: Session, job_ids: Sequence[UUID], *, now: Now = database_now) -> list[schemas.JobDetail]:
    """Return the jobs that exist as `get` does, in the order in which their ids are given."""
    named = select(Job).where(Job.id.in_(job_ids)).options(selectinload(Job.attempts))
    rows = {row.id: row for row in session.scalars(named)}
    return _details(session, [rows[job_id] for job_id in job_ids if job_id in rows], now)


def _details(session: Session, rows: Sequence[Job], now: Now) -> list[schemas.JobDetail]:
    queued = [row for row in rows if row.state == JobState.QUEUED]
    wait = {
        row.id: asdict(wait)
        for row, wait in zip(queued, waits.of_jobs(session, queued, now=now), strict=True)
    }
    return [
        schemas.JobDetail(
            **fields,
            attempts=tuple(schemas.Attempt.model_validate(attempt) for attempt in row.attempts),
            **wait.get(row.id, {}),
        )
        for row, fields in zip(rows, _fields_of(session, rows), strict=True)
    ]


def summary(session: Session, job_id: UUID) -> schemas.Job:
    """Return a job as lists do: without its attempts, its position and the reason why it waits.

    Raises:
        JobNotFound: there is no such job.
    """
    row = session.get(Job, job_id)
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return describe(session, [row])[0]


def summaries(session: Session, job_ids: Collection[UUID]) -> dict[UUID, schemas.Job]:
    """Return the jobs that exist as `summary` does, by id."""
    rows = session.scalars(select(Job).where(Job.id.in_(job_ids))).all()
    return {job.id: job for job in describe(session, rows)}


def newly_queued(new: NewJob, tenant: str, created_at: datetime, actor: Actor | None = None) -> schemas.Job:
    """Return a new job as `summary` would right after its submission, without reading it."""
    return schemas.Job(
        **vars(new),
        tenant=tenant or None,
        api_key_id=actor and actor.key_id,
        submitted_by=actor.name if actor and actor.key_id else None,
        state=JobState.QUEUED,
        phase=None,
        attempt=0,
        lost_attempts=0,
        version=1,
        progress=_progress(0, new.spec) if isinstance(new.spec, schemas.TrainSpec) else None,
        values={},
        error=None,
        cancel_requested_at=None,
        scheduled_at=new.scheduled_at(created_at),
        created_at=created_at,
        started_at=None,
        finished_at=None,
    )


def state(session: Session, job_id: UUID) -> JobState:
    """Return the state of a job.

    Raises:
        JobNotFound: there is no such job.
    """
    return state_and_version(session, job_id)[0]


def state_and_version(session: Session, job_id: UUID) -> tuple[JobState, int]:
    """Return the state and the version of a job.

    Raises:
        JobNotFound: there is no such job.
    """
    row = session.execute(select(Job.state, Job.version).where(Job.id == job_id)).one_or_none()
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return JobState(row.state), row.version


def final_version(session: Session, job_id: UUID) -> int | None:
    """Return the version of a finished job, or None if the job has not finished or does not exist."""
    return session.scalar(select(Job.version).where(Job.id == job_id, Job.state.in_(TERMINAL)))


def marks(session: Session, job_ids: Collection[UUID]) -> dict[UUID, Mark]:
    """Return the mark of each job; the mark has no version if the job does not exist."""
    rows = session.execute(select(Job.id, Job.version, Job.lease_expires_at).where(Job.id.in_(job_ids)))
    found = {row.id: (row.version, row.lease_expires_at) for row in rows}
    return {job_id: found.get(job_id, (None, None)) for job_id in job_ids}


def describe(session: Session, rows: Sequence[tables.Job]) -> list[schemas.Job]:
    """Return jobs as API schemas, in the order of the rows."""
    return [schemas.Job(**fields) for fields in _fields_of(session, rows)]


@dataclass
class _Training:
    """The pace of a running job: seconds of its last epochs; number and seconds of the next epoch's steps."""

    epochs_s: list[float] = field(default_factory=list)
    steps: int = 0
    steps_s: float = 0.0

    def epoch_s(self, steps_per_epoch: int) -> float | None:
        """Return the estimated seconds of an epoch, or None before the first steps."""
        if self.epochs_s:
            return fmean(self.epochs_s)
        return self.steps_s / self.steps * steps_per_epoch if self.steps else None


def _fields_of(session: Session, rows: Sequence[tables.Job]) -> list[dict[str, Any]]:
    training = _training(session, rows)
    names = rights.names(session, [row.api_key_id for row in rows])
    return [{**_fields(row, training.get(row.id)), "submitted_by": names.get(row.api_key_id)} for row in rows]


def _training(session: Session, rows: Sequence[tables.Job]) -> dict[UUID, _Training]:
    """Return the pace of each running job that has recorded epochs or steps."""
    running = [row.id for row in rows if row.state == JobState.RUNNING]
    if not running:
        return {}
    recent = and_(Epoch.job_id == Job.id, Epoch.epoch >= Job.next_epoch - _RECENT_EPOCHS)
    header = case((~IS_COMPLETE, STEP_COUNT)).label("header")  # steps are counted of incomplete epochs only
    known = or_(IS_COMPLETE, Epoch.attempt == Job.attempt)
    found: defaultdict[UUID, _Training] = defaultdict(_Training)
    epochs = select(Job.id, Epoch.seconds, header).join(Epoch, recent).where(Job.id.in_(running), known)
    for row in session.execute(epochs):
        if row.header is None:
            found[row.id].epochs_s.append(row.seconds)
        else:
            found[row.id].steps, found[row.id].steps_s = count_steps(row.header), row.seconds
    return found


def _fields(row: tables.Job, training: _Training | None) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in schemas.Job.model_fields if hasattr(row, name)}
    values = row.last_values
    spec = schemas.TrainSpec.model_validate(row.spec) if row.kind == JobKind.TRAIN else None
    return {
        **fields,
        "spec": spec or schemas.EvaluateSpec.model_validate(row.spec),
        "tenant": row.tenant or None,
        "tags": tuple(row.tags),
        "progress": _progress(row.next_epoch, spec, training) if spec else None,
        "values": {name: values[name] for name in schemas.in_order(values)},
        "error": None
        if row.error_code is None
        else schemas.JobError(code=row.error_code, message=row.error_message or ""),
    }


def _progress(epoch: int, spec: schemas.TrainSpec, training: _Training | None = None) -> schemas.Progress:
    training, in_epoch = training or _Training(), spec.steps_per_epoch
    steps, epoch_s = spec.epochs * in_epoch, training.epoch_s(in_epoch)
    # the training code may count its steps differently
    step = epoch * in_epoch + min(training.steps, in_epoch) if epoch < spec.epochs else steps
    return schemas.Progress(
        epoch=epoch,
        epochs=spec.epochs,
        step=step,
        steps=steps,
        percent=100 * step / steps,
        eta_s=None if epoch_s is None else (steps - step) / in_epoch * epoch_s,
    )
