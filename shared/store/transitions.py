"""The one place where a job's row changes: one conditional UPDATE for every event.

Its WHERE names the states that the event may start from and, for whatever a worker writes, the attempt.
Where it changes no row the writer was too late, and its transaction leaves nothing behind. Each change is one
event, and the event's number is the job's version.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, seconds_between
from shared.db.tables import Attempt, Checkpoint, Job, JobEvent
from shared.errors import StaleAttempt
from shared.lifecycle import EVENTS, TERMINAL, AttemptOutcome, EventType, JobState

_CHANGED = "changed jobs"  # where a session keeps their ids


@dataclass(frozen=True)
class AttemptId:
    """Names one attempt at one job; the number is the fencing token of all that it writes."""

    job_id: UUID
    number: int

    def __str__(self) -> str:
        return f"attempt {self.number} at job {self.job_id}"


@dataclass(frozen=True)
class AttemptFailure:
    """Why an attempt failed, in a word for programs and a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Change:
    """What an event left: the job's version, which is the event's number, and its attempt."""

    version: int
    attempt: int


def end_attempt(
    session: Session, event: EventType, attempt: AttemptId, outcome: AttemptOutcome, **values: Any
) -> bool:
    """Make an event happen that ends an attempt, and that only this attempt itself may cause.

    Returns:
        False if it has ended so before, in a run whose commit was not answered: nothing is left to do.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    # the state too: a job that was taken from the attempt keeps its number until the next claim
    fence = (Job.attempt == attempt.number, Job.state == JobState.RUNNING)
    if change(session, event, attempt.job_id, *fence, outcome=outcome, **values):
        return True
    row = session.get(Attempt, (attempt.job_id, attempt.number))
    if row is None or row.outcome != outcome:
        raise StaleAttempt(f"{attempt} is over: the job no longer runs under it")
    return False


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
) -> Change | None:
    """Make one event happen to one job, if it is in a state from which it can and the guards hold.

    Args:
        outcome: how the job's attempt ended, for events that end it.
        failure: what the attempt failed of.
        data: what the event tells beyond its type.
        values: the other columns that change.

    Returns:
        None if nothing was changed.
    """
    edge = EVENTS[event]
    if edge.target is not None:
        values["state"] = edge.target
        if edge.target != JobState.RUNNING:
            values.update(lease_owner=None, lease_expires_at=None, phase=None)
        if edge.target == JobState.QUEUED:
            values.update(dispatched_at=None)
        if edge.target in TERMINAL:
            values.update(finished_at=now(), duration_s=seconds_between(Job.started_at, now()))
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(edge.sources), *guards)
        .values(version=Job.version + 1, **values)
        .returning(Job.version, Job.attempt)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    if edge.target in TERMINAL:
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id))
    log_event(session, job_id, row.version, event, row.attempt, data or {}, now)
    if outcome is not None:
        session.execute(
            update(Attempt)
            .where(Attempt.job_id == job_id, Attempt.number == row.attempt)
            .values(
                finished_at=now(),
                outcome=outcome,
                error_code=failure.code if failure else None,
                error_message=failure.message if failure else None,
            )
        )
    return Change(row.version, row.attempt)


def log_event(
    session: Session, job_id: UUID, seq: int, event: EventType, attempt: int, data: dict[str, Any], now: Now
) -> None:
    """Add an event to the job's history."""
    session.info.setdefault(_CHANGED, set()).add(job_id)
    session.add(JobEvent(job_id=job_id, seq=seq, at=now(), type=event, attempt=attempt, data=data))
    session.flush()


def changed_jobs(session: Session) -> frozenset[UUID]:
    """The jobs to which an event happened in this session."""
    return frozenset(session.info.get(_CHANGED, ()))
