"""The order in which queued jobs start: each has a place, and the least place of a queue is next.

A place is a time in Unix seconds, that of the submission less the head start of the job's priority. It is
fixed when the job is submitted: a retried or released job keeps its place. So a job of a higher priority
starts first, unless the other has waited for longer than the difference of their head starts: no job waits
for ever.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, UnaryExpression, bindparam, select, tuple_
from sqlalchemy.orm import Session

from shared.db.clock import Now
from shared.db.tables import IS_QUEUED, Job, PausedQueue
from shared.schemas import Priority

HEAD_START_S = {Priority.HIGH: 3_600.0, Priority.NORMAL: 0.0, Priority.LOW: -3_600.0}
"""The head start of each priority, in seconds."""

ORDER: tuple[UnaryExpression[Any], ...] = (Job.place.asc(), Job.id.asc())
"""ORDER BY of queued jobs. Ids, which sort by creation time, decide between equal places."""


def of_new_job(priority: Priority, created_at: datetime) -> float:
    """Return the place of a job that is submitted now."""
    return created_at.timestamp() - HEAD_START_S[priority]


def due(queue: str | BindParameter[str], *, now: Now) -> Select[float]:
    """Return a SELECT of the jobs of a queue that can start now: none while the queue is paused."""
    paused = select(PausedQueue.name).where(PausedQueue.name == queue).exists()
    return select(Job.place).where(
        IS_QUEUED, Job.queue == queue, ~paused, Job.scheduled_at <= now(), Job.cancel_requested_at.is_(None)
    )


def before(job: Job) -> ColumnElement[bool]:
    """Return SQL for the queued jobs of the same queue that start before a queued job."""
    return IS_QUEUED & (Job.queue == job.queue) & (tuple_(Job.place, Job.id) < (job.place, job.id))


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
