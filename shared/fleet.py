"""The workers and the queues that they serve: who is there, what they run, and why a job waits."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, func, or_, select, tuple_, type_coerce
from sqlalchemy.orm import Session

from shared import schemas, tables
from shared.clock import Now, database_now
from shared.lifecycle import JobState
from shared.schemas import Priority, WaitingFor
from shared.tables import Attempt, Job, PausedQueue, UtcDateTime


def workers(session: Session, *, now: Now = database_now) -> tuple[schemas.Worker, ...]:
    """Every known worker with what it runs, last heard of first."""
    running = _running(session)
    table = tables.Worker
    rows = session.execute(select(table, _read_at(now)).order_by(table.heartbeat_at.desc(), table.id))
    return tuple(_describe(worker, at, running[worker.id]) for worker, at in rows)


def _running(session: Session) -> dict[str, list[UUID]]:
    """The jobs that each worker runs."""
    current = and_(Attempt.job_id == Job.id, Attempt.number == Job.attempt)
    found: dict[str, list[UUID]] = defaultdict(list)
    rows = select(Attempt.worker, Job.id).join(Job, current).where(Job.state == JobState.RUNNING)
    for worker, job_id in sorted(session.execute(rows).all()):
        found[worker].append(job_id)
    return found


def _read_at(now: Now) -> Any:
    return type_coerce(now(), UtcDateTime())


def _describe(row: tables.Worker, at: datetime, jobs: Sequence[UUID]) -> schemas.Worker:
    stored = {name: getattr(row, name) for name in schemas.Worker.model_fields if hasattr(row, name)}
    age_s = max(0.0, (at - row.heartbeat_at).total_seconds())
    if row.state != "stopped" and row.lost_after_s is not None and age_s > row.lost_after_s:
        stored |= {"state": "lost"}
    return schemas.Worker(**stored, heartbeat_age_s=age_s, busy_slots=len(jobs), jobs=tuple(jobs))


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
    serving = _serving(job.queue, workers(session, now=now))
    if not serving:
        return WaitingFor.NO_WORKER_ONLINE
    if job.scheduled_at > session.execute(select(_read_at(now))).scalar_one():
        return WaitingFor.SCHEDULED
    if all(worker.busy_slots >= worker.slots for worker in serving):
        return WaitingFor.ALL_BUSY
    return None


def queues(session: Session, named: Collection[str], *, now: Now = database_now) -> tuple[schemas.Queue, ...]:
    """Every queue that has unfinished jobs or workers, is paused, or is `named`, by name."""
    paused = set(session.scalars(select(PausedQueue.name)))
    known = workers(session, now=now)
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
        _read_at(now).label("at"),
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
