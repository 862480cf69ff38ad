"""Recovery of jobs whose worker was lost. Each change is a compare-and-set, so any reconciler may call it."""

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import Job
from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.store.transitions import AttemptFailure, change

WORKER_LOST = "worker_lost"

SelectT = TypeVar("SelectT", bound=Select[*tuple[Any, ...]])


def reap(session: Session, *, max_crashes: int, now: Now = database_now) -> list[UUID]:
    """Take running jobs whose lease has expired from their workers; return the jobs' ids.

    A job returns to its queue at its last recorded epoch. It ends `cancelled` if a cancel was requested, and
    `failed` once it has lost `max_crashes` workers.
    """
    expired = select(Job).where(Job.state == JobState.RUNNING, Job.lease_expires_at < now())
    lost = session.scalars(_locked(expired)).all()
    for job in lost:
        _count_crash(session, job, max_crashes, now)
    return [job.id for job in lost]


def _count_crash(session: Session, job: Job, max_crashes: int, now: Now) -> None:
    crashes = job.crashes + 1
    failure = AttemptFailure(WORKER_LOST, f"worker {job.lease_owner} stopped renewing its lease")
    ended: dict[str, Any] = {"crashes": crashes, "outcome": AttemptOutcome.LOST, "failure": failure}
    if job.cancel_requested_at is not None:
        event = EventType.CANCELLED
    elif crashes < max_crashes:
        event = EventType.LEASE_EXPIRED
    else:
        event = EventType.FAILED
        message = f"{crashes} workers were lost while they ran this job; the attempts say which"
        ended.update(error_code=WORKER_LOST, error_message=message)
        ended.update(data={"code": WORKER_LOST, "message": message})
    change(session, event, job.id, Job.attempt == job.attempt, **ended, now=now)


def end_cancelled(session: Session, *, now: Now = database_now) -> list[UUID]:
    """Cancel queued jobs whose worker released them after a cancel request; return the jobs' ids."""
    waiting = select(Job.id).where(Job.state == JobState.QUEUED, Job.cancel_requested_at.is_not(None))
    ids, queued = session.scalars(_locked(waiting)).all(), Job.state == JobState.QUEUED
    return [job_id for job_id in ids if change(session, EventType.CANCELLED, job_id, queued, now=now)]


def _locked(jobs: SelectT) -> SelectT:
    """Lock the rows that a query finds until this transaction ends, in the order of all reconcilers.

    Rows that a worker, a user or another reconciler is changing are left to the next round, so that nobody
    waits for another's lock. (SQLite has one writer at a time anyway.)
    """
    return jobs.order_by(Job.id).with_for_update(key_share=True, skip_locked=True)
