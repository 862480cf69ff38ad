"""The workers: who is there, what they run, and draining them."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, select, type_coerce, update
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.db.clock import Now, database_now
from shared.db.tables import Attempt, Job, UtcDateTime, Worker
from shared.errors import WorkerNotFound, WorkerStopped
from shared.lifecycle import JobState


def every(session: Session, *, now: Now = database_now) -> tuple[schemas.Worker, ...]:
    """Every known worker with what it runs, last heard of first."""
    running = _running(session)
    table = tables.Worker
    rows = session.execute(select(table, read_at(now)).order_by(table.heartbeat_at.desc(), table.id))
    return tuple(_describe(worker, at, running[worker.id]) for worker, at in rows)


def _running(session: Session) -> dict[str, list[UUID]]:
    """The jobs that each worker runs."""
    current = and_(Attempt.job_id == Job.id, Attempt.number == Job.attempt)
    found: dict[str, list[UUID]] = defaultdict(list)
    rows = select(Attempt.worker, Job.id).join(Job, current).where(Job.state == JobState.RUNNING)
    for worker, job_id in sorted(session.execute(rows).all()):
        found[worker].append(job_id)
    return found


def read_at(now: Now) -> Any:
    """SQL for the present moment, read as a datetime."""
    return type_coerce(now(), UtcDateTime())


def _describe(row: tables.Worker, at: datetime, jobs: Sequence[UUID]) -> schemas.Worker:
    stored = {name: getattr(row, name) for name in schemas.Worker.model_fields if hasattr(row, name)}
    age_s = max(0.0, (at - row.heartbeat_at).total_seconds())
    if row.state != "stopped" and row.lost_after_s is not None and age_s > row.lost_after_s:
        stored |= {"state": "lost"}
    return schemas.Worker(**stored, heartbeat_age_s=age_s, busy_slots=len(jobs), jobs=tuple(jobs))


def drain(session: Session, worker: str) -> None:
    """Let the worker finish the jobs that it runs, and take no others.

    Raises:
        WorkerNotFound: there is no such worker.
        WorkerStopped: it has ended.
    """
    _set_state(session, worker, "draining")


def undrain(session: Session, worker: str) -> None:
    """Let the worker take jobs again.

    Raises:
        WorkerNotFound: there is no such worker.
        WorkerStopped: it has ended.
    """
    _set_state(session, worker, "online")


def _set_state(session: Session, worker: str, state: str) -> None:
    running = and_(Worker.id == worker, Worker.state != "stopped")
    known = session.scalar(update(Worker).where(running).values(state=state).returning(Worker.id))
    if known is None:
        if session.get(Worker, worker) is None:
            raise WorkerNotFound(f"there is no worker {worker!r}")
        raise WorkerStopped(f"worker {worker!r} has stopped: it takes no jobs any more")
