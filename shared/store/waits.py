"""How long a queued job waits, and for what: its position, its share's jobs, the reason, an estimate."""

from dataclasses import dataclass
from heapq import heapreplace

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now, seconds_between
from shared.db.tables import IS_QUEUED, IS_RUNNING, IS_UNFINISHED, Job, PausedQueue
from shared.schemas import MAX_POSITION, WaitingFor
from shared.store import limits, places, queues
from shared.store.queues import Slots

_RECENT_JOBS = 20  # whose duration is expected of those that wait


@dataclass(frozen=True)
class Wait:
    """How long a queued job waits, and for what.

    Attributes:
        queue_position: from 1, the next job to start; at most `MAX_POSITION`.
        waiting_for: None if the job is about to start.
        share_queued, share_running: jobs of its share in its queue, each at most `MAX_POSITION`.
        starts_in_s: about how long it will wait; None if nobody can tell.
    """

    queue_position: int
    waiting_for: WaitingFor | None
    share_queued: int
    share_running: int
    starts_in_s: float | None


def of_job(session: Session, job: Job, *, now: Now = database_now) -> Wait:
    """Return how long a queued job waits, and for what."""
    position = 1 + _count(session, places.before(job), MAX_POSITION - 1)
    of_share = IS_UNFINISHED & (Job.queue == job.queue) & (Job.share == job.share)
    slots = queues.slots(session, job.queue, now=now)
    reason = _reason(session, job, slots, now)
    starts_in_s = None
    if reason is WaitingFor.ALL_BUSY:
        starts_in_s = _starts_in_s(session, job.queue, position, slots, now)
    return Wait(
        queue_position=position,
        waiting_for=reason,
        share_queued=_count(session, of_share & IS_QUEUED, MAX_POSITION),
        share_running=_count(session, of_share & IS_RUNNING, MAX_POSITION),
        starts_in_s=starts_in_s,
    )


def _count(session: Session, condition: ColumnElement[bool], limit: int) -> int:
    """Count jobs up to a limit: to count all would take as long as the queue, and a poll must not."""
    counted = select(Job.queue).where(condition).limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(counted)) or 0


def _reason(session: Session, job: Job, slots: Slots, now: Now) -> WaitingFor | None:
    if session.get(PausedQueue, job.queue) is not None:
        return WaitingFor.PAUSED
    if job.waits_for:
        return WaitingFor.PREDECESSORS
    if slots.all is None:
        return WaitingFor.NO_WORKER_ONLINE
    if job.scheduled_at > session.execute(select(now())).scalar_one():
        return WaitingFor.SCHEDULED
    if limit := limits.reached(session, job):
        return limit
    return WaitingFor.ALL_BUSY if not slots.free else None


def _starts_in_s(session: Session, queue: str, position: int, slots: Slots, now: Now) -> float | None:
    """Return about how long a job waits that all slots are busy for.

    Running jobs go on as fast as they are, and those before it take as long as the last ones.
    """
    if position >= MAX_POSITION or not slots.all:
        return None
    last = (
        select(Job.duration_s)
        .where(Job.finished_at.is_not(None), Job.duration_s.is_not(None))
        .order_by(Job.finished_at.desc())
        .limit(_RECENT_JOBS)
        .subquery()
    )
    mean_s = session.scalar(select(func.avg(last.c.duration_s)))
    if mean_s is None:
        return None
    free_in_s = sorted(_left_s(session, queue, float(mean_s), slots.all, now))
    for _ in range(position - 1):
        heapreplace(free_in_s, free_in_s[0] + float(mean_s))
    return round(free_in_s[0], 1)


def _left_s(session: Session, queue: str, mean_s: float, slots: int, now: Now) -> list[float]:
    """Return in how many seconds each slot of a queue is expected to be free."""
    elapsed = seconds_between(Job.started_at, now())
    running = select(elapsed.label("elapsed_s"), Job.next_epoch, Job.spec).where(
        IS_RUNNING, Job.queue == queue
    )
    left = []
    for row in session.execute(running.limit(MAX_POSITION)):
        epochs, elapsed_s = row.spec.get("epochs", 0), float(row.elapsed_s or 0.0)
        by_epochs = elapsed_s * (epochs - row.next_epoch) / row.next_epoch if row.next_epoch else 0.0
        left.append(max(by_epochs, mean_s - elapsed_s, 0.0))
    # other queues' jobs may run in the other slots
    return left[:slots] + [mean_s] * (slots - len(left))
