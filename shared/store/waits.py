"""How long a queued job waits, and for what: its position, its share's jobs, the reason, an estimate."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property, partial
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
    return of_jobs(session, [job], now=now)[0]


def of_jobs(session: Session, jobs: Iterable[Job], *, now: Now = database_now) -> list[Wait]:
    """Return for each of some queued jobs how long it waits, and for what.

    What the jobs of a queue, a share or a key have in common is read once.
    """
    queue_of = cache(partial(_Queue, session, now))
    load_of = cache(partial(_load, session))
    waits = []
    for job in jobs:
        queue = queue_of(job.queue)
        position = 1 + _count(session, places.before(job), MAX_POSITION - 1)
        reason = _reason(job, queue)
        starts_in_s = queue.starts_in_s(position) if reason is WaitingFor.ALL_BUSY else None
        waits.append(Wait(position, reason, *load_of(job.queue, job.share), starts_in_s))
    return waits


def _load(session: Session, queue: str, share: str | None) -> tuple[int, int]:
    """Return how many jobs of a share wait in a queue, and how many of them run."""
    of_share = IS_UNFINISHED & (Job.queue == queue) & (Job.share == share)
    return (
        _count(session, of_share & IS_QUEUED, MAX_POSITION),
        _count(session, of_share & IS_RUNNING, MAX_POSITION),
    )


def _count(session: Session, condition: ColumnElement[bool], limit: int) -> int:
    """Count jobs up to a limit: to count all would take as long as the queue, and a poll must not."""
    counted = select(Job.queue).where(condition).limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(counted)) or 0


class _Queue:
    """What the waits of a queue's jobs depend on, each read when it is needed first."""

    def __init__(self, session: Session, now: Now, name: str) -> None:
        self._session = session
        self._now = now
        self._name = name
        self.limit_of_key = cache(partial(limits.reached, session, name))

    @cached_property
    def is_paused(self) -> bool:
        return self._session.get(PausedQueue, self._name) is not None

    @cached_property
    def slots(self) -> Slots:
        return queues.slots(self._session, self._name, now=self._now)

    @cached_property
    def at(self) -> datetime:
        return self._session.execute(select(self._now())).scalar_one()

    def starts_in_s(self, position: int) -> float | None:
        """Return about how long the job at a position waits that all slots are busy for.

        Running jobs go on as fast as they are, and those before it take as long as the last ones.
        """
        if position >= MAX_POSITION or not self.slots.all or self._mean_s is None:
            return None
        free_in_s = list(self._free_in_s)
        for _ in range(position - 1):
            heapreplace(free_in_s, free_in_s[0] + self._mean_s)
        return round(free_in_s[0], 1)

    @cached_property
    def _mean_s(self) -> float | None:
        last = (
            select(Job.duration_s)
            .where(Job.finished_at.is_not(None), Job.duration_s.is_not(None))
            .order_by(Job.finished_at.desc())
            .limit(_RECENT_JOBS)
            .subquery()
        )
        mean_s = self._session.scalar(select(func.avg(last.c.duration_s)))
        return None if mean_s is None else float(mean_s)

    @cached_property
    def _free_in_s(self) -> list[float]:
        """In how many seconds each slot is expected to be free, as a heap."""
        return sorted(_left_s(self._session, self._name, self._mean_s or 0.0, self.slots.all or 0, self._now))


def _reason(job: Job, queue: _Queue) -> WaitingFor | None:
    if queue.is_paused:
        return WaitingFor.PAUSED
    if job.waits_for:
        return WaitingFor.PREDECESSORS
    if queue.slots.all is None:
        return WaitingFor.NO_WORKER_ONLINE
    if job.scheduled_at > queue.at:
        return WaitingFor.SCHEDULED
    if limit := queue.limit_of_key(job.api_key_id):
        return limit
    return None if queue.slots.free else WaitingFor.ALL_BUSY


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
