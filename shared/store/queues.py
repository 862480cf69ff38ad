"""The workers and the queues that they serve: who is there, what they run, and why a job waits."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, or_, select, tuple_
from sqlalchemy.orm import Session

from shared import schemas
from shared.db.clock import Now, database_now
from shared.db.engine import insert_or_ignore
from shared.db.tables import Job, PausedQueue, Worker
from shared.lifecycle import JobState
from shared.schemas import Priority, WaitingFor
from shared.store import workers
from shared.store.workers import read_at


def _serving(queue: str, known: Iterable[schemas.Worker]) -> list[schemas.Worker]:
    return [worker for worker in known if worker.state == "online" and queue in worker.queues]


@dataclass(frozen=True)
class Waiting:
    """Where a queued job stands, and why it is not run."""

    queue_position: int
    waiting_for: WaitingFor | None


def waiting(session: Session, job: Job, *, now: Now = database_now) -> Waiting:
    """How a queued job stands in its queue: jobs of a higher priority and older ones of its own go first."""
    above = list(Priority)[: list(Priority).index(Priority(job.priority))]
    older = tuple_(Job.created_at, Job.id) < (job.created_at, job.id)
    ahead = select(func.count()).where(
        Job.queue == job.queue,
        Job.state == JobState.QUEUED,
        or_(Job.priority.in_(above), and_(Job.priority == job.priority, older)),
    )
    return Waiting(1 + (session.scalar(ahead) or 0), _reason(session, job, now))


def _reason(session: Session, job: Job, now: Now) -> WaitingFor | None:
    if session.get(PausedQueue, job.queue) is not None:
        return WaitingFor.PAUSED
    serving = _serving(job.queue, workers.every(session, now=now))
    if not serving:
        return WaitingFor.NO_WORKER_ONLINE
    if job.scheduled_at > session.execute(select(read_at(now))).scalar_one():
        return WaitingFor.SCHEDULED
    if all(worker.busy_slots >= worker.slots for worker in serving):
        return WaitingFor.ALL_BUSY
    return None


def every(session: Session, named: Collection[str], *, now: Now = database_now) -> tuple[schemas.Queue, ...]:
    """Every queue that has unfinished jobs or workers, is paused, or is `named`, by name."""
    paused = set(session.scalars(select(PausedQueue.name)))
    known = workers.every(session, now=now)
    served = {queue for worker in known if worker.state in ("online", "draining") for queue in worker.queues}
    loads: dict[str, list[Row[Any]]] = defaultdict(list)
    for load in session.execute(_loads(now)):
        loads[load.queue].append(load)
    names = sorted({*named, *paused, *served, *loads})
    return tuple(_queue(name, name in paused, loads[name], _serving(name, known)) for name in names)


def _loads(now: Now) -> Any:
    unfinished = Job.state.in_((JobState.QUEUED, JobState.RUNNING))
    by = (Job.queue, Job.state, Job.priority)
    measures = (
        func.count().label("jobs"),
        func.min(Job.created_at).label("oldest"),
        read_at(now).label("at"),
    )
    return select(*by, *measures).where(unfinished).group_by(*by)


def _queue(
    name: str, paused: bool, loads: Sequence[Row[Any]], serving: Sequence[schemas.Worker]
) -> schemas.Queue:
    queued = [load for load in loads if load.state == JobState.QUEUED]
    ages = [load.at - load.oldest for load in queued]
    by_priority = {load.priority: load.jobs for load in queued}
    return schemas.Queue(
        name=name,
        paused=paused,
        queued={priority: by_priority.get(priority, 0) for priority in Priority},
        oldest_waiting_s=max(max(ages), timedelta()).total_seconds() if ages else None,
        running=sum(load.jobs for load in loads if load.state == JobState.RUNNING),
        workers=len(serving),
        slots=sum(worker.slots for worker in serving),
    )


def load(queue: schemas.Queue) -> schemas.QueueLoad:
    """What an autoscaler needs to know of a queue."""
    queued = 0 if queue.paused else sum(queue.queued.values())
    slots_each = queue.slots / queue.workers if queue.workers else 1.0
    return schemas.QueueLoad(
        queued=queued,
        running=queue.running,
        workers=queue.workers,
        desired=ceil((queued + queue.running) / slots_each),
    )


def paused_queues() -> ColumnElement[bool]:
    """SQL for: the job's queue is paused."""
    return Job.queue.in_(select(PausedQueue.name))


def admits(worker: str) -> ColumnElement[bool]:
    """SQL for: the worker may take jobs, and the job's queue gives them."""
    draining = select(Worker.id).where(Worker.id == worker, Worker.state == "draining").exists()
    return and_(~paused_queues(), ~draining)


def pause(session: Session, queue: str, *, now: Now = database_now) -> None:
    """Let nobody claim jobs of the queue; those that run go on. Pausing twice is pausing once."""
    insert_or_ignore(session, PausedQueue, {"name": queue, "paused_at": now()})


def resume(session: Session, queue: str) -> None:
    """Let the queue's jobs be claimed again."""
    session.execute(delete(PausedQueue).where(PausedQueue.name == queue))
