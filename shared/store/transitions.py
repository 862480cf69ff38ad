"""State transitions: the only place where a job's state changes, by one conditional UPDATE of its row.

Its WHERE names the states that the event may start from and, for all that a worker writes, the attempt (the
fence). If it matches no row, the writer was too late and its transaction writes nothing. Each change records
one event, whose sequence number is the job's new version. Events that happened before it and were not written
yet are recorded with it, in the same UPDATE: the version rises by their number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    bindparam,
    delete,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from shared.db.clock import Now, seconds_between
from shared.db.statements import Statement
from shared.db.tables import IS_QUEUED, Attempt, Base, Checkpoint, Job, JobEvent
from shared.lifecycle import EVENTS, TERMINAL, AttemptOutcome, EventType, JobState
from shared.store import dependencies, dependents
from shared.store.event_log import NewEvent, note_changed, record
from shared.texts import storable

# tables, not mapped classes: in SQLAlchemy's Core a statement costs a third of what it costs in its ORM
_JOBS, _ATTEMPTS, _EVENTS, _CHECKPOINTS = (
    Base.metadata.tables[mapped.__tablename__] for mapped in (Job, Attempt, JobEvent, Checkpoint)
)
_DELETE_CHECKPOINT = Statement(delete(_CHECKPOINTS).where(_CHECKPOINTS.c.job_id == bindparam("of_job")))
# the time of the job's last event, as far as the UPDATE that returns it sees the events
_LAST_EVENT_AT = (
    select(_EVENTS.c.at)
    .where(_EVENTS.c.job_id == _JOBS.c.id)
    .order_by(_EVENTS.c.seq.desc())
    .limit(1)
    .correlate(_JOBS)
    .scalar_subquery()
)
_AT_ONCE = 100  # jobs whose wait ends in the transaction of their predecessor's end


@dataclass(frozen=True)
class AttemptId:
    """Identifies an attempt at a job; the number is the fencing token of everything that it writes."""

    job_id: UUID
    number: int

    def __str__(self) -> str:
        return f"attempt {self.number} at job {self.job_id}"


@dataclass(frozen=True)
class AttemptFailure:
    """Why an attempt failed: a code for programs and a message for people, which is made storable."""

    code: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", storable(self.message))


@dataclass(frozen=True)
class Change:
    """What happens to a job.

    Attributes:
        events: in order; only the last one may change the state. Without any, the job is only announced.
        parameters: values of the parameters of the UPDATE, and of further columns that change.
        outcome: how the job's attempt ended, for events that end it.
        failure: why the attempt failed.
    """

    events: Sequence[NewEvent]
    parameters: Mapping[str, Any]
    outcome: AttemptOutcome | None = None
    failure: AttemptFailure | None = None

    @property
    def target(self) -> JobState | None:
        """The state that the job enters; None if it stays in its own."""
        return EVENTS[self.events[-1].type].target if self.events else None

    @property
    def values(self) -> Mapping[str, Any]:
        """The parameters of the UPDATE."""
        return {"event_count": len(self.events), **self.parameters}


def change(
    session: Session,
    event: EventType,
    job_id: UUID,
    *guards: ColumnElement[bool],
    now: Now,
    outcome: AttemptOutcome | None = None,
    failure: AttemptFailure | None = None,
    data: dict[str, Any] | None = None,
    **values: Any,
) -> bool:
    """Apply an event to a job if the job's state allows the event and the guards hold.

    Args:
        guards: further conditions of the UPDATE.
        outcome: how the job's attempt ended, for events that end it.
        failure: why the attempt failed.
        data: details of the event.
        values: further columns that change.

    Returns:
        Whether the job changed.
    """
    changed = Change([NewEvent(event, data or {})], {"of_job": job_id}, outcome, failure)
    return apply(session, update_of(event, *guards, now=now, **values), changed, now=now) is not None


def update_of(
    event: EventType,
    *guards: ColumnElement[bool],
    now: Now,
    choice: ScalarSelect[UUID] | Select[UUID] | None = None,
    returning: Sequence[ColumnElement[Any]] = (),
    **values: Any,
) -> ReturningUpdate[Any]:
    """Return the UPDATE of a job's row by an event.

    To build it costs ten times as much as to execute it: build it once where it is executed often.

    Args:
        guards: further conditions.
        choice: the SELECT that chooses the job, or several; None: the parameter `of_job` is its id.
        returning: columns that are returned besides those that `apply` needs.
        values: further columns that change.
    """
    edge = EVENTS[event]
    if edge.target is not None:
        values["state"] = edge.target
        values |= _columns_of(edge.target, now)
    return (
        update(_JOBS)
        .where(_is_chosen(choice))
        .where(in_states(edge.sources), *guards)
        .values(version=_JOBS.c.version + bindparam("event_count"), **values)
        .returning(
            *(_JOBS.c.id, _JOBS.c.version, _JOBS.c.attempt, _JOBS.c.next_epoch, _JOBS.c.has_dependents),
            now().label("now"),
            (_LAST_EVENT_AT if choice is None else null()).label("last_event_at"),
            *returning,
        )
    )


def in_states(states: Iterable[JobState]) -> ColumnElement[bool]:
    """Return SQL for whether a job that is found by its id is in one of these states.

    No index helps with it: in one of the state, the entry of each job that was done under an old snapshot
    would be visited.
    """
    names: list[ColumnElement[str]] = [literal_column(f"'{state}'") for state in sorted(states)]
    return func.coalesce(_JOBS.c.state, literal_column("''")).in_(names)


def _is_chosen(choice: ScalarSelect[UUID] | Select[UUID] | None) -> ColumnElement[bool]:
    if isinstance(choice, Select):
        return _JOBS.c.id.in_(choice)
    return _JOBS.c.id == (bindparam("of_job") if choice is None else choice)


def apply(session: Session, statement: ReturningUpdate[Any] | Statement, change: Change, *, now: Now) -> Any:
    """Apply a change to a job if the job's state allows its last event and the guards of its UPDATE hold.

    Args:
        statement: what `update_of` returned for the last event.

    Returns:
        The row that the UPDATE returned, by its columns' names; None if nothing changed.
    """
    if isinstance(statement, Statement):
        return apply_each(session, statement, [change], now=now)[0]
    # on the connection: the session takes it for a bulk UPDATE of its ORM
    row = session.connection().execute(statement, change.values).one_or_none()
    if row is not None:
        _log(session, [(row, change)], now)
    return row


def apply_each(session: Session, statement: Statement, changes: Sequence[Change], *, now: Now) -> list[Any]:
    """Do as `apply` for changes of different jobs, whose parameters have the same names."""
    rows = statement.each(session, [change.values for change in changes])
    pairs = zip(rows, changes, strict=True)
    _log(session, [(row, change) for row, change in pairs if row is not None], now)
    return rows


def apply_chosen(session: Session, statement: Statement, change: Change, *, now: Now) -> list[Any]:
    """Do as `apply` for each job that the UPDATE chooses itself; return the rows that it returned."""
    rows = statement.all(session, change.values)
    _log(session, [(row, change) for row in rows], now)
    return rows


def _log(session: Session, changed: Sequence[tuple[Any, Change]], now: Now) -> None:
    """Insert the events of jobs that have changed, end their attempts, and what waits for their end."""
    ended = {row.id: target for row, change in changed if (target := change.target) in TERMINAL}
    # one that has recorded no epoch has no checkpoint
    resumable = [row.id for row, _ in changed if row.id in ended and row.next_epoch]
    _DELETE_CHECKPOINT.execute(session, *({"of_job": job_id} for job_id in resumable))
    record(session, [(row, change.events) for row, change in changed])
    attempts = [_end_of(row, change) for row, change in changed if change.outcome is not None]
    _update_of_attempt(now).execute(session, *attempts)
    awaited = {row.id: ended[row.id] for row, _ in changed if row.has_dependents and row.id in ended}
    if awaited:
        end_waits(session, awaited, limit=_AT_ONCE, now=now)


def end_waits(session: Session, ended: Mapping[UUID, JobState], *, limit: int, now: Now) -> int:
    """Count off jobs that have succeeded, cancel those that wait for others; return how many jobs changed.

    Args:
        ended: terminal jobs, with their states; those for which others still wait then are noted.
        limit: how many jobs may wait for fewer, and how many may be cancelled.
    """
    succeeded = {job_id for job_id, state in ended.items() if state == JobState.SUCCEEDED}
    fewer = dependents.count_off(session, succeeded, limit)
    note_changed(session, fewer)
    reasons = {
        # one in between is cancelled here
        job_id: dependencies.reason(after_id, ended.get(after_id, JobState.CANCELLED))
        for job_id, after_id in dependents.doomed(session, ended.keys() - succeeded, limit).items()
    }
    cancelled = _cancel_queued(session, reasons, now) if reasons else []
    dependents.note_left(session, [*ended, *cancelled])
    return len(fewer) + len(cancelled)


def _cancel_queued(session: Session, reasons: Mapping[UUID, dict[str, Any]], now: Now) -> list[UUID]:
    """Cancel queued jobs, each with these details of its event, by a statement a table; return their ids."""
    ids = dependents.lock_queued(session, reasons)
    cancelled = update_of(
        EventType.CANCELLED, IS_QUEUED, choice=select(Job.id).where(Job.id.in_(ids)), now=now
    )
    rows = session.connection().execute(cancelled, {"event_count": 1}).all() if ids else []
    session.execute(delete(Checkpoint).where(Checkpoint.job_id.in_(ids)))
    record(session, [(row, [NewEvent(EventType.CANCELLED, reasons[row.id])]) for row in rows])
    return ids


def _columns_of(state: JobState, now: Now) -> dict[str, Any]:
    """Return the columns that change when a job enters a state."""
    values: dict[str, Any] = {}
    if state != JobState.RUNNING:
        values |= {"lease_owner": None, "lease_expires_at": None, "phase": None}
    if state in TERMINAL:
        ran = seconds_between(_ATTEMPTS.c.started_at, func.coalesce(_ATTEMPTS.c.finished_at, now()))
        of_attempts = select(func.sum(ran)).where(_ATTEMPTS.c.job_id == _JOBS.c.id).correlate(_JOBS)
        values |= {"finished_at": now(), "duration_s": of_attempts.scalar_subquery()}
    return values


def _end_of(row: Any, change: Change) -> dict[str, Any]:
    failure = change.failure
    code, message = (failure.code, failure.message) if failure else (None, None)
    ended = {"outcome": change.outcome, "error_code": code, "error_message": message}
    return {"of_job": row.id, "of_number": row.attempt, **ended}


@lru_cache
def _update_of_attempt(now: Now) -> Statement:
    is_attempt = (_ATTEMPTS.c.job_id == bindparam("of_job"), _ATTEMPTS.c.number == bindparam("of_number"))
    return Statement(update(_ATTEMPTS).where(*is_attempt).values(finished_at=now()))
