"""Recovery of jobs whose worker or pool process was lost, and of times that a step of the clock made wrong.

Each change is a compare-and-set, so any reconciler may call it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, bindparam, case, select, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import IS_QUEUED, IS_RUNNING, Attempt, Job
from shared.lifecycle import AttemptOutcome, EventType, JobKind, JobState
from shared.retry import MAX_DELAY_S
from shared.schemas import LogLevel
from shared.store import job_logs
from shared.store.transitions import AttemptFailure, AttemptId, change, note_changed
from shared.texts import storable

WORKER_LOST = "worker_lost"

_STARTED_AT = select(Attempt.started_at).where(
    Attempt.job_id == bindparam("of_job"), Attempt.number == bindparam("of_attempt")
)

SelectT = TypeVar("SelectT", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True)
class LostAttempt:
    """An attempt that was lost with its worker or process, which cannot tell of it."""

    attempt: AttemptId
    kind: JobKind
    queue: str
    sweep_id: UUID | None
    traceparent: str | None
    worker: str
    started_at: datetime
    reason: str


def reap(session: Session, *, max_crashes: int, now: Now = database_now) -> list[LostAttempt]:
    """Take running jobs whose lease has expired from their workers; return the attempts at them.

    A job returns to its queue at its last recorded epoch. It ends `cancelled` if a cancel was requested, and
    `failed` once it has lost `max_crashes` workers.
    """
    expired = select(Job).where(Job.state == JobState.RUNNING, Job.lease_expires_at < now())
    return [
        _count_crash(session, job, f"worker {_worker(job)} stopped renewing its lease", max_crashes, now)
        for job in session.scalars(_locked(expired)).all()
    ]


def take_from(
    session: Session,
    process: str,
    reason: str,
    *,
    max_crashes: int,
    output: str = "",
    now: Now = database_now,
) -> list[LostAttempt]:
    """Take the running job of a pool process that has ended from it, as `reap` does after the lease.

    This waits for the last transaction of the process if the database has not finished it yet.

    Args:
        process: the beginning of `lease_owner` of all that this process has claimed.
        reason: how it ended, for people.
        output: the last lines that it printed, for the job's log.

    Returns:
        The attempt at it; empty if the process ran none, or its last report was committed.
    """
    of_process = Job.lease_owner.startswith(f"{process}/", autoescape=True)
    running = select(Job).where(IS_RUNNING, of_process).order_by(Job.id).with_for_update(key_share=True)
    taken = session.scalars(running).all()
    return [_count_crash(session, job, reason, max_crashes, now, output) for job in taken]


def _worker(job: Job) -> str:
    return (job.lease_owner or "").partition("/")[0]


def _count_crash(
    session: Session, job: Job, reason: str, max_crashes: int, now: Now, output: str = ""
) -> LostAttempt:
    lost = LostAttempt(
        attempt=AttemptId(job.id, job.attempt),
        kind=JobKind(job.kind),
        queue=job.queue,
        sweep_id=job.sweep_id,
        traceparent=job.traceparent,
        worker=_worker(job),
        started_at=session.scalars(_STARTED_AT, {"of_job": job.id, "of_attempt": job.attempt}).one(),
        reason=reason,
    )
    crashes, failure = job.crashes + 1, AttemptFailure(WORKER_LOST, reason)
    ended: dict[str, Any] = {"crashes": crashes, "outcome": AttemptOutcome.LOST, "failure": failure}
    if job.cancel_requested_at is not None:
        event = EventType.CANCELLED
    elif crashes < max_crashes:
        event = EventType.LEASE_EXPIRED
        ended.update(data={"code": WORKER_LOST, "message": reason})
    else:
        event = EventType.FAILED
        message = (
            f"{crashes} workers were lost while they ran this job; the attempts say which. The last: {reason}"
        )
        ended.update(error_code=WORKER_LOST, error_message=message)
        ended.update(data={"code": WORKER_LOST, "message": message})
    change(session, event, job.id, Job.attempt == job.attempt, **ended, now=now)
    said = f"attempt {job.attempt} lost: {reason}" + (f"; its last output:\n{output}" if output else "")
    job_logs.append_last(session, lost.attempt, LogLevel.ERROR, storable(said), now=now)
    return lost


def end_cancelled(session: Session, *, now: Now = database_now) -> list[UUID]:
    """Cancel queued jobs whose worker released them after a cancel request; return the jobs' ids."""
    waiting = select(Job.id).where(Job.state == JobState.QUEUED, Job.cancel_requested_at.is_not(None))
    ids, queued = session.scalars(_locked(waiting)).all(), Job.state == JobState.QUEUED
    return [job_id for job_id in ids if change(session, EventType.CANCELLED, job_id, queued, now=now)]


def pull_back(session: Session, *, lease_s: float, limit: int, now: Now = database_now) -> int:
    """Correct jobs whose times the database's clock has left too far in the future by stepping back.

    A queued job that has not failed is due now, or when it was to start, and one that has is due within the
    longest delay of a retry.
    No lease ends later than `lease_s` seconds from now: its holder renews it.

    Returns:
        How many jobs were corrected, at most `limit` queued ones and as many running ones.
    """
    is_retry = Job.failures > 0
    starts_later = Job.earliest_at > now()
    due_by = case((is_retry, now(MAX_DELAY_S)), (starts_later, Job.earliest_at), else_=now())
    late = select(Job.id).where(IS_QUEUED, Job.scheduled_at > due_by).limit(limit)
    queued = session.scalars(_locked(late)).all()
    session.execute(update(Job).where(Job.id.in_(queued)).values(scheduled_at=due_by))
    long = select(Job.id).where(IS_RUNNING, Job.lease_expires_at > now(lease_s)).limit(limit)
    running = session.scalars(_locked(long)).all()
    session.execute(update(Job).where(Job.id.in_(running)).values(lease_expires_at=now(lease_s)))
    note_changed(session, queued)
    return len(queued) + len(running)


def _locked(jobs: SelectT) -> SelectT:
    """Lock the rows that a query finds until this transaction ends, in the order of all reconcilers.

    Rows that a worker, a user or another reconciler is changing are left to the next round, so that nobody
    waits for another's lock. (SQLite has one writer at a time anyway.)
    """
    return jobs.order_by(Job.id).with_for_update(key_share=True, skip_locked=True)
