"""Workers: listing, counting, draining and pruning them."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    Select,
    Subquery,
    and_,
    case,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from shared import schemas
from shared.db.clock import Now, database_now, seconds_between
from shared.db.tables import IS_RUNNING, Attempt, Job, Worker
from shared.errors import WorkerNotFound, WorkerStopped
from shared.lifecycle import STORED_WORKER_STATES, WorkerState
from shared.schemas import UtcTime
from shared.store import environments
from shared.texts import PRINTABLE

_RECENT_S = 60.0
_MAX_PRUNED = 100  # in one transaction

WorkerKey = tuple[UtcTime, UtcTime, Annotated[str, Field(max_length=200, pattern=PRINTABLE)]]
"""The sort key of a worker: what the first page took for recent, the heartbeat if it is older, and the id."""

AttemptKey = tuple[UtcTime, UUID, Annotated[int, Field(ge=1, le=2**31 - 1)]]
"""The sort key of a worker's attempt: its start, the job's id and the attempt's number."""


@dataclass(frozen=True)
class WorkerInfo:
    """The worker that runs an attempt, its device, its libraries' versions, and its kernel's boot id."""

    name: str
    device: str
    versions: dict[str, str]
    boot_id: str | None = None

    @cached_property
    def environment(self) -> bytes:
        """The hash by which attempts refer to the versions."""
        return environments.key(self.versions)


def page(
    session: Session, *, after: WorkerKey | None = None, limit: int, now: Now = database_now
) -> list[tuple[WorkerKey, schemas.Worker]]:
    """Return up to `limit` workers with their keys, last seen first.

    Those seen within a minute before the first page count as seen at the same time, and are sorted by id: a
    heartbeat between two pages then moves no worker, so that pages neither skip nor repeat any.
    """
    recent = after[0] if after else session.execute(select(now(-_RECENT_S))).scalar_one()
    seen_at = case((Worker.heartbeat_at > recent, recent), else_=Worker.heartbeat_at)
    statement = _select(now).order_by(seen_at.desc(), Worker.id).limit(limit)
    if after is not None:
        same = and_(seen_at == after[1], Worker.id > after[2])
        statement = statement.where(or_(seen_at < after[1], same))
    return [
        ((recent, min(worker.heartbeat_at, recent), worker.id), worker)
        for worker in _describe(session, session.execute(statement).all())
    ]


def get(session: Session, worker_id: str, *, now: Now = database_now) -> schemas.Worker:
    """Return a worker with the jobs that it is running.

    Raises:
        WorkerNotFound: there is no such worker.
    """
    rows = session.execute(_select(now).where(Worker.id == worker_id)).all()
    if not rows:
        raise WorkerNotFound(f"there is no worker {worker_id!r}")
    return _describe(session, rows)[0]


def of_process(session: Session, pid: int, *, now: Now = database_now) -> list[schemas.Worker]:
    """Return the workers whose process has this id, on whichever host, as each of them last wrote."""
    return _describe(session, session.execute(_select(now).where(Worker.pid == pid)).all())


def history(
    session: Session, worker_id: str, *, after: AttemptKey | None = None, limit: int
) -> list[tuple[AttemptKey, schemas.WorkerAttempt]]:
    """Return up to `limit` attempts of a worker with their keys, the last started first.

    They are kept as long as their jobs, also after the worker's own row was deleted.

    Raises:
        WorkerNotFound: there is no such worker, and no attempt of one.
    """
    key = (Attempt.started_at, Attempt.job_id, Attempt.number)
    statement = select(Attempt, Job.kind, Job.name).join(Job, Job.id == Attempt.job_id)
    statement = statement.where(Attempt.worker == worker_id).order_by(*(column.desc() for column in key))
    if after is not None:
        statement = statement.where(tuple_(*key) < after)
    rows = session.execute(statement.limit(limit)).all()
    if not rows and after is None and session.get(Worker, worker_id) is None:
        raise WorkerNotFound(f"there is no worker {worker_id!r}")
    return [
        (
            (row.Attempt.started_at, row.Attempt.job_id, row.Attempt.number),
            schemas.WorkerAttempt(
                **{
                    name: getattr(row.Attempt, name)
                    for name in schemas.WorkerAttempt.model_fields
                    if hasattr(row.Attempt, name)
                },
                kind=row.kind,
                name=row.name,
            ),
        )
        for row in rows
    ]


def count_by_state(session: Session, *, now: Now = database_now) -> dict[WorkerState, int]:
    """Return the number of workers in each state that any of them has."""
    states = select(_state(now).label("state")).subquery()
    counts = session.execute(select(states.c.state, func.count()).group_by(states.c.state))
    return {WorkerState(state): count for state, count in counts}


def _select(now: Now) -> Select[*tuple[Any, ...]]:
    return select(Worker, _state(now).label("state"), now().label("read_at"))


def _describe(session: Session, rows: Collection[Row[Any]]) -> list[schemas.Worker]:
    jobs: dict[str, list[UUID]] = defaultdict(list)
    # not the bare column: SQLite would read all attempts of these workers instead of the running ones
    on_these = func.coalesce(Attempt.worker, "").in_([row.Worker.id for row in rows])
    running = _running(Attempt.worker, Job.id).where(on_these).order_by(Job.id)
    for worker_id, job_id in session.execute(running):
        jobs[worker_id].append(job_id)
    return [_worker(row.Worker, row.state, row.read_at, jobs[row.Worker.id]) for row in rows]


def _worker(row: Worker, state: str, at: datetime, jobs: list[UUID]) -> schemas.Worker:
    stored = {name: getattr(row, name) for name in schemas.Worker.model_fields if hasattr(row, name)}
    return schemas.Worker(
        **{**stored, "state": state},
        heartbeat_age_s=max(0.0, (at - row.heartbeat_at).total_seconds()),
        busy_slots=len(jobs),
        jobs=tuple(jobs),
    )


def _running(*columns: Any) -> Select[Any]:
    """SELECT of columns of running jobs and their attempts."""
    current = and_(Attempt.job_id == Job.id, Attempt.number == Job.attempt)
    return select(*columns).select_from(Job).join(Attempt, current).where(IS_RUNNING)


def _state(now: Now) -> ColumnElement[str]:
    """SQL for a worker's state: the stored one, or lost."""
    return case(
        (or_(Worker.state == WorkerState.STOPPED, _is_alive(now)), Worker.state), else_=WorkerState.LOST
    )


def _is_alive(now: Now) -> ColumnElement[bool]:
    """SQL for whether a worker's last heartbeat is recent enough; NULL: an old version's."""
    silent_s = seconds_between(Worker.heartbeat_at, now())
    return or_(Worker.lost_after_s.is_(None), silent_s <= Worker.lost_after_s)


def in_state(*states: WorkerState, now: Now) -> ColumnElement[bool]:
    """SQL for whether a worker is alive, and its stored state is one of these."""
    return and_(Worker.state.in_(states), _is_alive(now))


def busy_slots() -> Subquery:
    """SQL for the table (worker, jobs) of how many jobs each worker is running."""
    return _running(Attempt.worker, func.count().label("jobs")).group_by(Attempt.worker).subquery()


def may_claim(worker_id: str | BindParameter[str]) -> ColumnElement[bool]:
    """SQL for whether a worker may claim jobs: it is not draining."""
    return ~select(Worker.id).where(Worker.id == worker_id, Worker.state == WorkerState.DRAINING).exists()


def drain(session: Session, worker_id: str) -> None:
    """Let a worker finish its running jobs and take no more. Idempotent.

    Raises:
        WorkerNotFound: there is no such worker.
        WorkerStopped: it has ended.
    """
    _set_state(session, worker_id, WorkerState.DRAINING)


def undrain(session: Session, worker_id: str) -> None:
    """Let a drained worker take jobs again. Idempotent.

    Raises:
        WorkerNotFound: there is no such worker.
        WorkerStopped: it has ended.
    """
    _set_state(session, worker_id, WorkerState.ONLINE)


def _set_state(session: Session, worker_id: str, state: WorkerState) -> None:
    not_stopped = and_(Worker.id == worker_id, Worker.state != WorkerState.STOPPED)
    changed = session.scalar(update(Worker).where(not_stopped).values(state=state).returning(Worker.id))
    if changed is None:
        if session.get(Worker, worker_id) is None:
            raise WorkerNotFound(f"there is no worker {worker_id!r}")
        raise WorkerStopped(f"worker {worker_id!r} has stopped: it takes no jobs any more")


def prune(session: Session, *, retention_s: float, now: Now = database_now) -> list[str]:
    """Delete workers that stopped or were lost longer ago than `retention_s`; return their ids.

    Deletes up to 100 of them, and none that holds an attempt of a running job. Any number of processes may do
    so at the same time. A worker that was suspended for so long registers again at its next heartbeat.
    """
    ended = or_(Worker.state == WorkerState.STOPPED, Worker.lost_after_s.is_(None), ~_is_alive(now))
    # all states, so that the index on the state and the heartbeat is used
    old = and_(Worker.state.in_(STORED_WORKER_STATES), Worker.heartbeat_at < now(-retention_s))
    idle = Worker.id.not_in(_running(Attempt.worker))
    ids = session.scalars(
        select(Worker.id)
        .where(old, ended, idle)
        .order_by(Worker.id)
        .limit(_MAX_PRUNED)
        # one that sends a heartbeat at this moment stays, and so do those that another process deletes
        .with_for_update(skip_locked=True)
    ).all()
    session.execute(delete(Worker).where(Worker.id.in_(ids)))
    return list(ids)
