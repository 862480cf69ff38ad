"""Deletion of finished jobs, and of what belongs to them, when it is past its retention.

Finished jobs are read in the order in which they ended, a batch at a time; each function here deletes one
thing of a batch. Any number of processes may do so at the same time.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, exists, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from shared.db.clock import Now, database_now, seconds_between
from shared.db.tables import (
    Artifact,
    EndedPredecessor,
    EpochWeights,
    IdempotencyKey,
    Job,
    JobLog,
    Model,
    ModelAlias,
    Sweep,
)
from shared.store.event_log import note_changed

EndKey = tuple[datetime, UUID]
"""The sort key of finished jobs: when a job ended, and its id."""

KeyOrder = tuple[UUID, str]
"""What idempotency keys are sorted by: the id of the job that was submitted, and the key."""


def finished(
    session: Session,
    *,
    retention_s: float,
    after: EndKey | None = None,
    limit: int,
    now: Now = database_now,
) -> list[EndKey]:
    """Return the keys of up to `limit` jobs that ended more than `retention_s` seconds ago, oldest first.

    Args:
        after: the key of the last job of the batch before; None: from the beginning.
    """
    jobs = select(Job.finished_at, Job.id).where(Job.finished_at < now(-retention_s))
    if after is not None:
        # the first condition is for the index, which has no ids
        jobs = jobs.where(Job.finished_at >= after[0], tuple_(Job.finished_at, Job.id) > after)
    rows = session.execute(jobs.order_by(Job.finished_at, Job.id).limit(limit))
    return [(at, job_id) for at, job_id in rows if at is not None]


def overdue_s(session: Session, retention_s: float, *, now: Now = database_now) -> float:
    """Return by how many seconds the oldest job to be deleted has outlived its retention; 0: none has."""
    age = seconds_between(Job.finished_at, now(-retention_s))
    overdue = select(age).where(Job.finished_at < now(-retention_s), *_is_unwanted())
    return session.scalar(overdue.order_by(Job.finished_at).limit(1)) or 0.0


def delete_jobs(session: Session, job_ids: Sequence[UUID]) -> int:
    """Delete finished jobs with all that belongs to them, except those whose model is still wanted.

    A model is wanted if it has an alias, or another job has evaluated it or is to do so. A job also stays
    while jobs that wait for it do not know that it has ended. Sweeps without jobs go with their last one.
    Returns how many jobs were deleted.
    """
    jobs = session.execute(_unwanted(session, job_ids, Job.id, Job.sweep_id)).all()
    if not jobs:
        return 0
    ids, sweep_ids = [job.id for job in jobs], {job.sweep_id for job in jobs} - {None}
    note_changed(session, ids)
    session.execute(delete(Model).where(Model.id.in_(ids)))
    session.execute(delete(Job).where(Job.id.in_(ids)))
    if sweep_ids:
        is_empty = ~exists().where(Job.sweep_id == Sweep.id)
        session.execute(delete(Sweep).where(Sweep.id.in_(sweep_ids), is_empty))
    return len(ids)


def delete_models(session: Session, job_ids: Sequence[UUID]) -> int:
    """Delete the files of these jobs, except those whose model is wanted, and the weights of epochs.

    The jobs keep their metrics and evaluations. Returns how many models were deleted.
    """
    ids = session.scalars(_unwanted(session, job_ids, Job.id)).all()
    session.execute(delete(EpochWeights).where(EpochWeights.job_id.in_(ids)))
    session.execute(delete(Artifact).where(Artifact.job_id.in_(ids)))
    stored = Model.id.in_(ids), Model.deleted_at.is_(None)
    models = session.scalars(
        update(Model).where(*stored).values(deleted_at=database_now()).returning(Model.id)
    )
    return len(models.all())


def delete_logs(session: Session, job_ids: Sequence[UUID]) -> int:
    """Delete the log lines of these jobs; return how many jobs had some."""
    deleted = delete(JobLog).where(JobLog.job_id.in_(job_ids)).returning(JobLog.job_id)
    return len(set(session.scalars(deleted)))


def old_keys(
    session: Session,
    *,
    retention_s: float,
    after: KeyOrder | None = None,
    limit: int,
    now: Now = database_now,
) -> list[KeyOrder]:
    """Return up to `limit` idempotency keys that are older than `retention_s` seconds, oldest first.

    Args:
        after: the last key of the batch before; None: from the beginning.
    """
    order = IdempotencyKey.job_id, IdempotencyKey.key  # ids of jobs sort by creation time
    keys = select(*order, (IdempotencyKey.created_at < now(-retention_s)).label("is_old")).order_by(*order)
    if after is not None:
        # the first condition is for the index, which has no keys
        keys = keys.where(IdempotencyKey.job_id >= after[0], tuple_(*order) > after)
    rows = session.execute(keys.limit(limit)).all()
    return [(row.job_id, row.key) for row in takewhile(lambda row: row.is_old, rows)]


def delete_keys(
    session: Session, keys: Sequence[KeyOrder], *, retention_s: float, now: Now = database_now
) -> int:
    """Delete those of these idempotency keys whose job has ended long ago, or was deleted.

    Returns how many were deleted.
    """
    is_kept = Job.finished_at.is_(None) | (Job.finished_at >= now(-retention_s))
    of_kept = exists().where(Job.id == IdempotencyKey.job_id, is_kept)
    deleted = delete(IdempotencyKey).where(IdempotencyKey.key.in_([key for _, key in keys]), ~of_kept)
    return len(session.scalars(deleted.returning(IdempotencyKey.key)).all())


def _unwanted(session: Session, job_ids: Sequence[UUID], *columns: InstrumentedAttribute[Any]) -> Select[Any]:
    """Select jobs without a wanted model that nobody waits for, and lock them.

    Not those that another process has locked.
    """
    unlocked = Job.id.in_(_lock_models(session, job_ids)) | ~exists().where(Model.id == Job.id)
    unwanted = select(*columns).where(Job.id.in_(job_ids), unlocked, *_is_unwanted())
    return unwanted.order_by(Job.id).with_for_update(of=Job, skip_locked=True)


def _is_unwanted() -> tuple[ColumnElement[bool], ...]:
    """Return conditions on a job: nobody waits for it, and no alias and no other job has its model."""
    user = aliased(Job)
    trained = Model.id == Job.id
    has_alias = exists().where(trained, ModelAlias.model_id == Model.id)
    is_used = exists().where(trained, user.model_id == Model.id, user.id != Job.id)
    is_awaited = exists().where(EndedPredecessor.job_id == Job.id)
    return ~has_alias, ~is_used, ~is_awaited


def _lock_models(session: Session, job_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Lock the models of jobs; return the ids of those jobs whose model nobody else has locked.

    Who submits a job that evaluates one locks it too: either that job is seen afterwards, or it is refused,
    because the model is deleted.
    """
    models = select(Model.id).where(Model.id.in_(job_ids)).order_by(Model.id)
    return session.scalars(models.with_for_update(skip_locked=True)).all()
