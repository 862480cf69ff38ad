"""The order in which queued jobs start: each has a place, and the least place of a queue is next.

A place is a number, fixed when the job is submitted; a retried or released job keeps its place. Its unit is
the second: `shared.store.tenants` says which place a job gets, and `Rules` by how many seconds priorities
differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, UnaryExpression, bindparam, select, tuple_
from sqlalchemy.orm import Session

from shared.db.clock import Now
from shared.db.tables import IS_QUEUED, Job, Queue
from shared.schemas import Priority
from shared.settings import Settings

ORDER: tuple[UnaryExpression[Any], ...] = (Job.place.asc(), Job.id.asc())
"""ORDER BY of queued jobs. Ids, which sort by creation time, decide between equal places."""


@dataclass(frozen=True)
class Rules:
    """The settings that the order depends on.

    Attributes:
        urgent_s, high_s: the head start of these priorities over `normal`, in seconds.
        low_s: that of `normal` over `low`.
        passed_s: for how long a job may be passed by jobs that are submitted after its turn.
        min_run_s: for how long a preempted job runs before it is preempted again.
    """

    urgent_s: float = 86_400.0
    high_s: float = 3_600.0
    low_s: float = 3_600.0
    passed_s: float = 7 * 86_400.0
    min_run_s: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Return those of a process."""
        return cls(
            settings.urgent_head_start_s,
            settings.high_head_start_s,
            settings.low_delay_s,
            settings.max_passed_s,
            settings.min_run_s,
        )

    def head_start_s(self, priority: Priority) -> float:
        """Return the head start of a priority over `normal`, in seconds; negative for `low`."""
        return {Priority.URGENT: self.urgent_s, Priority.HIGH: self.high_s, Priority.LOW: -self.low_s}.get(
            priority, 0.0
        )

    def place_at(self, time: datetime | None, priority: Priority) -> float:
        """Return the place of a job whose turn is at this time; None: long ago."""
        return 0.0 if time is None else time.timestamp() - self.head_start_s(priority)


DEFAULT_RULES = Rules()
"""Those of the settings' defaults."""


def waiting(queue: str | BindParameter[str], *, now: Now) -> Select[float]:
    """Return a SELECT of the jobs of a queue that can start as soon as the queue is not paused."""
    return select(Job.place).where(
        IS_QUEUED,
        Job.queue == queue,
        Job.scheduled_at <= now(),
        Job.cancel_requested_at.is_(None),
        Job.pending_predecessors == 0,
    )


def due(queue: str | BindParameter[str], *, now: Now) -> Select[float]:
    """Return a SELECT of the jobs of a queue that can start now: none while the queue is paused."""
    return waiting(queue, now=now).where(~is_paused(queue))


def is_paused(queue: str | BindParameter[str]) -> ColumnElement[bool]:
    """Return SQL for whether a queue is paused."""
    return select(Queue.name).where(Queue.name == queue, Queue.paused_at.is_not(None)).exists()


IS_BEFORE: ColumnElement[bool] = (
    IS_QUEUED
    & (Job.queue == bindparam("of_queue"))
    & (
        tuple_(Job.place, Job.id)
        < tuple_(bindparam("of_place", type_=Job.place.type), bindparam("of_job", type_=Job.id.type))
    )
)
"""SQL for the queued jobs that start before a queued job; the parameters are that job's."""


def by_next_place(session: Session, queues: Sequence[str], *, now: Now) -> list[str]:
    """Return those of the queues in which a job can start now, that of the least place first."""
    if len(queues) == 1:
        return list(queues)
    first = {queue: session.scalar(_first_place(now), {"of_queue": queue}) for queue in queues}
    return [
        queue for _, queue in sorted((place, queue) for queue, place in first.items() if place is not None)
    ]


@lru_cache
def _first_place(now: Now) -> Select[float]:
    return due(bindparam("of_queue"), now=now).order_by(*ORDER).limit(1)
