"""How long a queued job waits, and for what: its position, its tenant's jobs, the reason, an estimate."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from heapq import heapreplace
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, ScalarSelect, Select, bindparam, func, select
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now, seconds_between
from shared.db.tables import IS_QUEUED, IS_RUNNING, Job
from shared.schemas import MAX_POSITION, WaitingFor
from shared.store import limits, places, queues, turns
from shared.store.queues import Slots
from shared.store.turns import Turn

_RECENT_JOBS = 20  # whose duration is expected of those that wait

# to read many tenants takes milliseconds: what was read is kept, so that it takes a part of the time at most
_MANY, _READ_SHARE = 100, 20
_KEPT: WeakKeyDictionary[Any, dict[str, tuple[list[Turn], float]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Wait:
    """How long a queued job waits, and for what.

    Attributes:
        queue_position: from 1, the next job to start; at most `MAX_POSITION`.
        waiting_for: None if the job is about to start.
        tenant_queued, tenant_running: jobs of its tenant in its queue, each at most `MAX_POSITION`.
        starts_in_s: about how long it will wait; None if nobody can tell.
    """

    queue_position: int
    waiting_for: WaitingFor | None
    tenant_queued: int
    tenant_running: int
    starts_in_s: float | None


def of_job(session: Session, job: Job, *, now: Now = database_now) -> Wait:
    """Return how long a queued job waits, and for what."""
    return of_jobs(session, [job], now=now)[0]


def of_jobs(session: Session, jobs: Iterable[Job], *, now: Now = database_now) -> list[Wait]:
    """Return for each of some queued jobs how long it waits, and for what.

    What the jobs of a queue, a tenant or a key have in common is read once.
    """
    queue_of = cache(partial(_Queue, session, now))
    load_of = cache(partial(_load, session))
    waits = []
    for job in jobs:
        queue = queue_of(job.queue)
        position = queue.position(job)
        reason = _reason(job, queue)
        starts_in_s = queue.starts_in_s(position) if reason is WaitingFor.ALL_BUSY else None
        waits.append(Wait(position, reason, *load_of(job.queue, job.tenant), starts_in_s))
    return waits


def _load(session: Session, queue: str, tenant: str) -> tuple[int, int]:
    """Return how many jobs of a tenant wait in a queue, and how many of them run."""
    row = session.execute(_LOAD, {"of_queue": queue, "of_tenant": tenant, "at_most": MAX_POSITION}).one()
    return row.queued, row.running


def _count(condition: ColumnElement[bool]) -> ScalarSelect[int]:
    """SQL for a number of jobs, counted up to a limit: to count all would take as long as the queue."""
    counted = select(Job.queue).where(condition).limit(bindparam("at_most")).subquery()
    return select(func.count()).select_from(counted).scalar_subquery()


# the statements of a poll are built once: that takes ten times as long as to execute them
_OF_TENANT = places.OF_TENANT & places.ANY_PRIORITY
_LOAD = select(
    _count(_OF_TENANT & IS_QUEUED).label("queued"),
    _count(_OF_TENANT & IS_RUNNING).label("running"),
)
_JOBS_BEFORE = select(_count(places.IS_BEFORE))
_LAST_ENDED = (
    select(Job.duration_s)
    .where(Job.finished_at.is_not(None), Job.duration_s.is_not(None))
    .order_by(Job.finished_at.desc())
    .limit(_RECENT_JOBS)
    .subquery()
)


@lru_cache
def _state(now: Now) -> Select[Any]:
    is_paused = places.is_paused(bindparam("of_queue"))
    mean_s = select(func.avg(_LAST_ENDED.c.duration_s)).scalar_subquery()
    return select(is_paused.label("is_paused"), now().label("at"), mean_s.label("mean_s"))


class _Queue:
    """What the waits of a queue's jobs depend on, each read when it is needed first."""

    def __init__(self, session: Session, now: Now, name: str) -> None:
        self._session = session
        self._now = now
        self._name = name
        self.limit_of_key = cache(partial(limits.reached, session, name))

    @cached_property
    def state(self) -> Any:
        """Whether the queue is paused, the time, and the mean duration of the jobs that ended last."""
        return self._session.execute(_state(self._now), {"of_queue": self._name}).one()

    @cached_property
    def slots(self) -> Slots:
        return queues.slots(self._session, self._name, now=self._now)

    @cached_property
    def turns(self) -> list[Turn]:
        """The tenants that wait, with up to `MAX_POSITION` jobs of each."""
        kept = _KEPT.setdefault(self._session.get_bind(), {})
        found, until = kept.get(self._name, ([], 0.0))
        if (began_at := monotonic()) < until:
            return found
        found = turns.read(self._session, self._name, count=MAX_POSITION, now=self._now)
        if len(found) >= _MANY:
            kept[self._name] = found, monotonic() + _READ_SHARE * (monotonic() - began_at)
        return found

    def position(self, job: Job) -> int:
        """Return the position of a queued job, if all goes on as it did: at most `MAX_POSITION`."""
        of_job = {"of_queue": self._name, "of_tenant": job.tenant, "of_place": job.place, "of_job": job.id}
        ahead = self._session.scalar(_JOBS_BEFORE, {**of_job, "at_most": MAX_POSITION - 1}) or 0
        if ahead == MAX_POSITION - 1:
            return MAX_POSITION
        own = next((turn for turn in self.turns if turn.tenant == job.tenant), None)
        if own is None:
            return 1 + ahead
        position = turns.position(self.turns, own, ahead, expected_s=self._mean_s or 1.0)
        return min(position, MAX_POSITION)

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

    @property
    def _mean_s(self) -> float | None:
        return None if self.state.mean_s is None else float(self.state.mean_s)

    @cached_property
    def _free_in_s(self) -> list[float]:
        """In how many seconds each slot is expected to be free, as a heap."""
        return sorted(_left_s(self._session, self._name, self._mean_s or 0.0, self.slots.all or 0, self._now))


def _reason(job: Job, queue: _Queue) -> WaitingFor | None:
    if queue.state.is_paused:
        return WaitingFor.PAUSED
    if job.pending_predecessors:
        return WaitingFor.PREDECESSORS
    if queue.slots.all is None:
        return WaitingFor.NO_WORKER_ONLINE
    if job.scheduled_at > queue.state.at:
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
