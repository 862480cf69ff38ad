"""State transitions: the only place where a job's state changes, by one conditional UPDATE for each event.

Its WHERE names the states that the event may start from and, for all that a worker writes, the attempt (the
fence). If it matches no row, the writer was too late and its transaction writes nothing. Each change records
one event, whose sequence number is the job's new version.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, delete, insert, update
from sqlalchemy.orm import Session

from shared.db.bulk_insert import insert_rows
from shared.db.clock import Now, seconds_between
from shared.db.tables import Attempt, Base, Checkpoint, Job, JobEvent
from shared.errors import StaleAttempt
from shared.lifecycle import EVENTS, TERMINAL, AttemptOutcome, EventType, JobState

_EVENTS = Base.metadata.tables[JobEvent.__tablename__]
_CHANGED = "changed jobs"  # key of `Session.info`


@dataclass(frozen=True)
class AttemptId:
    """Identifies an attempt at a job; the number is the fencing token of everything that it writes."""

    job_id: UUID
    number: int

    def __str__(self) -> str:
        return f"attempt {self.number} at job {self.job_id}"


@dataclass(frozen=True)
class AttemptFailure:
    """Why an attempt failed: a code for programs and a message for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Change:
    """The result of an event: the job's id, its new version, which is the event's `seq`, and its attempt."""

    job_id: UUID
    version: int
    attempt: int


def end_attempt(
    session: Session, event: EventType, attempt: AttemptId, outcome: AttemptOutcome, **values: Any
) -> bool:
    """Apply an event that ends an attempt and that only this attempt may cause. Idempotent.

    Returns:
        False if the attempt has already ended in this way, by a transaction whose commit was not confirmed.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    # the state as well: a job that was taken from the attempt keeps its number until the next claim
    fence = (Job.attempt == attempt.number, Job.state == JobState.RUNNING)
    if change(session, event, attempt.job_id, *fence, outcome=outcome, **values):
        return True
    row = session.get(Attempt, (attempt.job_id, attempt.number))
    if row is None or row.outcome != outcome:
        raise StaleAttempt(f"{attempt} has ended: the job no longer runs under it")
    return False


def change(
    session: Session,
    event: EventType,
    job_id: UUID | ScalarSelect[UUID],
    *guards: ColumnElement[bool],
    now: Now,
    outcome: AttemptOutcome | None = None,
    failure: AttemptFailure | None = None,
    data: dict[str, Any] | None = None,
    **values: Any,
) -> Change | None:
    """Apply an event to a job if the job's state allows the event and the guards hold.

    Args:
        job_id: the job's id, or the SELECT that chooses the job.
        guards: further conditions of the UPDATE.
        outcome: how the job's attempt ended, for events that end it.
        failure: why the attempt failed.
        data: details of the event.
        values: further columns that change.

    Returns:
        None if nothing changed.
    """
    edge = EVENTS[event]
    if edge.target is not None:
        values["state"] = edge.target
        values |= _columns_of(edge.target, now)
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(edge.sources), *guards)
        .values(version=Job.version + 1, **values)
        .returning(Job.id, Job.version, Job.attempt)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    if edge.target in TERMINAL:
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == row.id))
    _log_events(
        session,
        [{"job_id": row.id, "seq": row.version, "type": event, "attempt": row.attempt, "data": data or {}}],
        now,
    )
    if outcome is not None:
        _finish_attempt(session, AttemptId(row.id, row.attempt), outcome, failure, now)
    return Change(row.id, row.version, row.attempt)


def _columns_of(state: JobState, now: Now) -> dict[str, Any]:
    """Return the columns that change when a job enters a state."""
    values: dict[str, Any] = {}
    if state != JobState.RUNNING:
        values |= {"lease_owner": None, "lease_expires_at": None, "phase": None}
    if state in TERMINAL:
        values |= {"finished_at": now(), "duration_s": seconds_between(Job.started_at, now())}
    return values


def _finish_attempt(
    session: Session, attempt: AttemptId, outcome: AttemptOutcome, failure: AttemptFailure | None, now: Now
) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == attempt.job_id, Attempt.number == attempt.number)
        .values(
            finished_at=now(),
            outcome=outcome,
            error_code=failure.code if failure else None,
            error_message=failure.message if failure else None,
        )
    )


def log_submitted(session: Session, job_ids: Sequence[UUID], at: datetime) -> None:
    """Insert the first event of each of these jobs."""
    first = {"seq": 1, "type": EventType.SUBMITTED, "attempt": 0, "data": {}, "at": at}
    note_changed(session, job_ids)
    insert_rows(session, _EVENTS, [{"job_id": job_id, **first} for job_id in job_ids])


def _log_events(session: Session, events: list[dict[str, Any]], now: Now) -> None:
    note_changed(session, [event["job_id"] for event in events])
    session.execute(insert(_EVENTS).values(at=now()), events)


def note_changed(session: Session, job_ids: Iterable[UUID]) -> None:
    """Have these jobs announced as changed after the commit; changes that have an event need no such call."""
    session.info.setdefault(_CHANGED, set()).update(job_ids)


def changed_jobs(session: Session) -> frozenset[UUID]:
    """Return the ids of the jobs that this session has changed or deleted."""
    return frozenset(session.info.get(_CHANGED, ()))
