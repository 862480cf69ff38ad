"""Recovery of jobs whose worker or pool process was lost, and of times that a step of the clock made wrong.

Each change is a compare-and-set, so any reconciler may call it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic, sleep
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, bindparam, case, func, select, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import IS_QUEUED, IS_RUNNING, Attempt, Job, Worker
from shared.lifecycle import AttemptOutcome, EventType, JobKind
from shared.retry import MAX_DELAY_S
from shared.schemas import LogLevel
from shared.store import dependents, job_logs, transitions
from shared.store.claims import TOGETHER
from shared.store.event_log import note_changed
from shared.store.transitions import AttemptFailure, AttemptId, change
from shared.texts import storable

WORKER_LOST = "worker_lost"

MAX_LOST = 10
"""A job fails once this many times `MAX_LOST_ATTEMPTS` were lost in all, whatever it has achieved between.

A job of days loses some workers to power, the network and updates; one that loses this many takes a slot and
returns little."""

# jobs that are told in a transaction: SQLite has one writer at a time
_BATCH = {"sqlite": 80, "postgresql": 250}
_REST = 2.0  # between two transactions, times what the last one took

_LOST = select(func.count()).where(
    Attempt.job_id == bindparam("of_job"), Attempt.outcome == AttemptOutcome.LOST
)

_RELEASED = select(Job.id).where(IS_QUEUED, Job.cancel_requested_at.is_not(None))

SelectT = TypeVar("SelectT", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True)
class LostAttempt:
    """An attempt that was lost with its worker or process, which cannot tell of it.

    Attributes:
        began: whether its work may have begun; else the job has only lost time.
    """

    attempt: AttemptId
    kind: JobKind
    queue: str
    sweep_id: UUID | None
    traceparent: str | None
    worker: str
    started_at: datetime
    reason: str
    began: bool = True


def expired(session: Session, *, now: Now = database_now) -> Sequence[UUID]:
    """Return the running jobs whose lease has expired."""
    return session.scalars(_expired(now).with_only_columns(Job.id).order_by(Job.id)).all()


def reap(
    session: Session,
    *,
    max_lost_attempts: int,
    lease_s: float,
    only: UUID | None = None,
    now: Now = database_now,
) -> list[LostAttempt]:
    """Take running jobs whose lease has expired from their workers; return the attempts at them.

    A job returns to its queue at its last recorded epoch. It ends `cancelled` if a cancel was requested, and
    `failed` once `max_lost_attempts` of its attempts were lost since that epoch, or `MAX_LOST` times as many
    in all. One that was lost with its machine counts only in all, and the first one of a job that was claimed
    with others not at all: most of these had not begun, and the job is claimed alone from then on.

    Args:
        lease_s: how long a lease is from its renewal on.
        only: the one job that is taken; None: all of them.
    """
    jobs = _expired(now) if only is None else _expired(now).where(Job.id == only)
    lost = []
    for job in session.scalars(_locked(jobs)).all():
        reason = f"worker {_worker(job)} stopped renewing its lease"
        if _is_of_several(job):
            lost.append(_put_back(session, job, reason, now))
        else:
            counts = _machine_is_alive(session, job, lease_s)
            lost.append(_count_loss(session, job, reason, max_lost_attempts, now, counts=counts))
    return lost


def _expired(now: Now) -> Select[Job]:
    return select(Job).where(IS_RUNNING, Job.lease_expires_at < now())


def take_from(
    session: Session,
    process: str,
    reason: str,
    *,
    max_lost_attempts: int,
    begun: AttemptId | None = None,
    output: str = "",
    now: Now = database_now,
) -> list[LostAttempt]:
    """Take the running jobs of a pool process that has ended from it, as `reap` does after the lease.

    This waits for the last transaction of the process if the database has not finished it yet.

    Args:
        process: the beginning of `lease_owner` of all that this process has claimed.
        reason: how it ended, for people.
        begun: the attempt that ran then, if that is known: the others are not lost.
        output: the last lines that it printed, for the job's log.

    Returns:
        The attempts at them; empty if the process held none, or its last report was committed.
    """
    of_process = Job.lease_owner.startswith(f"{process}/", autoescape=True)
    running = select(Job).where(IS_RUNNING, of_process).order_by(Job.id).with_for_update(key_share=True)
    taken = session.scalars(running).all()
    return [
        _put_back(session, job, reason, now)
        if (AttemptId(job.id, job.attempt) != begun if begun else _is_of_several(job))
        else _count_loss(session, job, reason, max_lost_attempts, now, output=output)
        for job in taken
    ]


def _is_of_several(job: Job) -> bool:
    """Return whether an attempt may not have begun: it was claimed with others, which are first ones."""
    return job.attempt == 1 and (job.lease_owner or "").endswith(TOGETHER)


def _put_back(session: Session, job: Job, reason: str, now: Now) -> LostAttempt:
    """Return a job to its queue whose attempt had not begun, or cancel it if that was requested."""
    lost = _lost(session, job, reason, began=False)
    cancelled = job.cancel_requested_at is not None
    event = EventType.CANCELLED if cancelled else EventType.RELEASED
    outcome = AttemptOutcome.CANCELLED if cancelled else AttemptOutcome.RELEASED
    change(session, event, job.id, Job.attempt == job.attempt, outcome=outcome, now=now)
    return lost


def _worker(job: Job) -> str:
    return (job.lease_owner or "").partition("/")[0]


def _machine_is_alive(session: Session, job: Job, lease_s: float) -> bool:
    """Return whether the kernel that a job's attempt ran on was seen after the attempt was, or is not known.

    Otherwise its machine was switched off or is cut off, which is not the job's doing.
    """
    assert job.lease_expires_at is not None, "a running job has a lease"
    boot_id = _attempt(session, job).boot_id
    # leases are renewed each third of their length: after half of it, the worker had been lost
    since = job.lease_expires_at - timedelta(seconds=lease_s / 2)
    seen = select(Worker.id).where(Worker.boot_id == boot_id, Worker.heartbeat_at > since)
    return boot_id is None or session.scalars(seen.limit(1)).first() is not None


def _attempt(session: Session, job: Job) -> Attempt:
    return session.get_one(Attempt, (job.id, job.attempt))


def _lost(session: Session, job: Job, reason: str, *, began: bool = True) -> LostAttempt:
    return LostAttempt(
        attempt=AttemptId(job.id, job.attempt),
        kind=JobKind(job.kind),
        queue=job.queue,
        sweep_id=job.sweep_id,
        traceparent=job.traceparent,
        worker=_worker(job),
        started_at=_attempt(session, job).started_at,
        reason=reason,
        began=began,
    )


def _count_loss(
    session: Session,
    job: Job,
    reason: str,
    max_lost_attempts: int,
    now: Now,
    *,
    counts: bool = True,
    output: str = "",
) -> LostAttempt:
    lost = _lost(session, job, reason)
    in_all = 1 + session.execute(_LOST, {"of_job": job.id}).scalar_one()
    ended: dict[str, Any] = {"outcome": AttemptOutcome.LOST, "failure": AttemptFailure(WORKER_LOST, reason)}
    ended["lost_attempts"] = lost_attempts = job.lost_attempts + counts
    if job.cancel_requested_at is not None:
        event = EventType.CANCELLED
    elif lost_attempts < max_lost_attempts and in_all < MAX_LOST * max_lost_attempts:
        event = EventType.LEASE_EXPIRED
        ended.update(data={"code": WORKER_LOST, "message": reason})
    else:
        event = EventType.FAILED
        number = in_all if lost_attempts < max_lost_attempts else lost_attempts
        message = (
            f"{number} workers were lost while they ran this job; the attempts say which. The last: {reason}"
        )
        ended.update(error_code=WORKER_LOST, error_message=message)
        ended.update(data={"code": WORKER_LOST, "message": message})
    change(session, event, job.id, Job.attempt == job.attempt, **ended, now=now)
    said = f"attempt {job.attempt} lost: {reason}" + (f"; its last output:\n{output}" if output else "")
    job_logs.append_last(session, lost.attempt, LogLevel.ERROR, storable(said), now=now)
    return lost


def released_to_end(session: Session) -> Sequence[UUID]:
    """Return the queued jobs whose worker released them after a cancel request."""
    return session.scalars(_RELEASED.order_by(Job.id)).all()


def end_cancelled(session: Session, *, only: UUID | None = None, now: Now = database_now) -> list[UUID]:
    """Cancel the jobs of `released_to_end`, or `only` one of them; return the jobs' ids."""
    waiting = _RELEASED if only is None else _RELEASED.where(Job.id == only)
    ids = session.scalars(_locked(waiting)).all()
    return [job_id for job_id in ids if change(session, EventType.CANCELLED, job_id, IS_QUEUED, now=now)]


def end_waits(database: Database, *, for_s: float, now: Now = database_now) -> int:
    """Tell the jobs that still wait for others that these have ended, in batches that commit.

    Between two of them it rests for twice as long as the last one took: others write to SQLite meanwhile.

    Args:
        for_s: after about so many seconds the rest is left to whoever calls this next.

    Returns:
        How many jobs were told.
    """
    told, until = 0, monotonic() + for_s
    if database.read(dependents.are_left):
        began_at = monotonic()
        while changed := database.write(partial(_end_some_waits, now=now)):
            told += changed
            if monotonic() > until:
                break
            sleep(_REST * (monotonic() - began_at))
            began_at = monotonic()
    return told


def _end_some_waits(session: Session, now: Now) -> int:
    limit = _BATCH[session.get_bind().dialect.name]
    return transitions.end_waits(session, dependents.take_left(session, limit), limit=limit, now=now)


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
