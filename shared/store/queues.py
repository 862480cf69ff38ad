"""Queues: their load, and pausing them. `shared.store.limits` limits them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, inf
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Row, Select, TableValuedAlias, case, delete, func, select, update
from sqlalchemy.orm import Session

from shared import schemas
from shared.db.clock import Now, database_now
from shared.db.tables import IS_UNFINISHED, Job, Queue, Worker
from shared.db.upserts import upsert
from shared.lifecycle import JobState, WorkerState
from shared.schemas import QUEUE_PATTERN, Priority
from shared.store import workers

QueueKey = tuple[Annotated[str, Field(pattern=QUEUE_PATTERN)]]
"""The sort key of a queue: its name."""


@dataclass(frozen=True)
class Slots:
    """The slots of the online workers of a queue.

    Attributes:
        all: their number; None if no worker is online.
        free: how many of them run no job.
    """

    all: int | None
    free: int


def queues_of_workers(session: Session) -> TableValuedAlias:
    """SQL for the elements of `Worker.queues`, a JSON list: one row for each queue of each worker."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    elements = func.json_each if sqlite else func.json_array_elements_text
    return elements(Worker.queues).table_valued("value", joins_implicitly=True)


def page(
    session: Session,
    named: Collection[str],
    *,
    after: QueueKey | None = None,
    limit: int | None = None,
    now: Now = database_now,
) -> list[tuple[QueueKey, schemas.Queue]]:
    """Return up to `limit` queues with their keys, by name.

    Args:
        named: queues to list even if they have no unfinished jobs and no workers, and are not paused.
        after: the key of the last queue of the page before; None: from the beginning.
        limit: None: no limit.
    """
    stored = {queue.name: queue for queue in session.scalars(select(Queue))}
    services = {row.queue: row for row in session.execute(_services(session, now))}
    loads: dict[str, list[Row[Any]]] = defaultdict(list)
    for load in session.execute(_loads(now)):
        loads[load.queue].append(load)
    names = sorted({*named, *stored, *services, *loads})
    wanted = [name for name in names if after is None or (name,) > after][:limit]
    return [((name,), _queue(name, loads[name], services.get(name), stored.get(name))) for name in wanted]


def paused(session: Session) -> set[str]:
    """Return the names of the paused queues."""
    return set(session.scalars(select(Queue.name).where(Queue.paused_at.is_not(None))))


def get(session: Session, name: str, *, now: Now = database_now) -> schemas.Queue:
    """Return a queue, whether it was ever used or not."""
    return next(queue for _, queue in page(session, {name}, now=now) if queue.name == name)


def served(session: Session, *, now: Now = database_now) -> set[str]:
    """Return the names of the queues that online or draining workers serve."""
    return {row.queue for row in session.execute(_services(session, now))}


def slots(session: Session, queue: str | None = None, *, now: Now = database_now) -> Slots:
    """Return how many jobs the online workers, all of them or those of a queue, can run at the same time."""
    served, busy = queues_of_workers(session), workers.busy_slots()
    # a worker that was suspended may run more jobs than it has slots
    free = Worker.slots - func.coalesce(busy.c.jobs, 0)
    statement = (
        select(func.sum(Worker.slots), func.sum(case((free > 0, free), else_=0)))
        .select_from(Worker)
        .outerjoin(busy, busy.c.worker == Worker.id)
        .where(workers.in_state(WorkerState.ONLINE, now=now))
    )
    row = session.execute(statement if queue is None else statement.where(served.c.value == queue)).one()
    return Slots(row[0] and int(row[0]), int(row[1] or 0))


def _services(session: Session, now: Now) -> Select[Any]:
    """SELECT of the queues that draining or online workers serve, with the online workers and their slots."""
    served, online = queues_of_workers(session), Worker.state == WorkerState.ONLINE
    return (
        select(
            served.c.value.label("queue"),
            func.count().filter(online).label("workers"),
            func.coalesce(func.sum(Worker.slots).filter(online), 0).label("slots"),
        )
        .select_from(Worker)
        .where(workers.in_state(WorkerState.ONLINE, WorkerState.DRAINING, now=now))
        .group_by(served.c.value)
    )


def _loads(now: Now) -> Select[*tuple[Any, ...]]:
    by = (Job.queue, Job.state, Job.priority)
    oldest = func.min(Job.created_at).label("oldest")
    measures = (func.count().label("jobs"), oldest, now().label("read_at"))
    return select(*by, *measures).where(IS_UNFINISHED).group_by(*by)


def _queue(
    name: str, loads: Sequence[Row[Any]], service: Row[Any] | None, stored: Queue | None
) -> schemas.Queue:
    queued = [load for load in loads if load.state == JobState.QUEUED]
    ages = [load.read_at - load.oldest for load in queued]
    by_priority = {load.priority: load.jobs for load in queued}
    return schemas.Queue(
        name=name,
        paused=stored is not None and stored.paused_at is not None,
        queued={priority: by_priority.get(priority, 0) for priority in Priority},
        oldest_waiting_s=max(max(ages), timedelta()).total_seconds() if ages else None,
        running=sum(load.jobs for load in loads if load.state == JobState.RUNNING),
        workers=service.workers if service else 0,
        slots=service.slots if service else 0,
        max_running=stored.max_running if stored else None,
    )


def load(queue: schemas.Queue) -> schemas.QueueLoad:
    """Return a queue's load, for an autoscaler."""
    queued = 0 if queue.paused else sum(queue.queued.values())
    slots_each = queue.slots / queue.workers if queue.workers else 1.0
    at_once = min(queued + queue.running, inf if queue.max_running is None else queue.max_running)
    return schemas.QueueLoad(
        queued=queued,
        running=queue.running,
        workers=queue.workers,
        desired=ceil(max(at_once, queue.running) / slots_each),
    )


def pause(session: Session, queue: str, *, now: Now = database_now) -> None:
    """Pause a queue: its jobs cannot be claimed; running ones continue. Idempotent."""
    upsert(session, Queue, {"name": queue, "paused_at": now()}, may_replace=Queue.paused_at.is_(None))


def resume(session: Session, queue: str) -> None:
    """Resume a paused queue. Idempotent."""
    of_queue = Queue.name == queue
    session.execute(delete(Queue).where(of_queue, Queue.max_running.is_(None)))
    session.execute(update(Queue).where(of_queue).values(paused_at=None))
