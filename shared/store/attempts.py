"""Writes of an attempt after its claim: its progress and its outcome. Each is fenced by the attempt.

Every function takes an open transaction (`Database.write`) and is idempotent: a transaction whose commit was
not confirmed is run again, finds its own work done and changes nothing. The repeated call must pass the same
progress: a part of it, or more, would be refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, true, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import Attempt, Base, Job
from shared.errors import StaleAttempt
from shared.formats.results import EVALUATION, Produced
from shared.lifecycle import AttemptOutcome, EventType, JobKind, JobState
from shared.store import preemption
from shared.store.event_log import NewEvent
from shared.store.produced import add_produced
from shared.store.progress import (
    FENCE,
    LAST_VALUES,
    NO_PROGRESS,
    End,
    Progress,
    apply_end,
    end_attempt,
    end_attempts,
    record_progress,
)
from shared.store.transitions import AttemptFailure, AttemptId, update_of

_JOBS = Base.metadata.tables[Job.__tablename__]


@dataclass(frozen=True)
class Origin:
    """The data of an attempt's trace span: its job, its worker and its start."""

    attempt: AttemptId
    kind: JobKind
    queue: str
    sweep_id: UUID | None
    traceparent: str | None
    worker: str
    started_at: datetime


def origin(session: Session, attempt: AttemptId) -> Origin:
    """Return the data of an attempt's trace span, for an attempt whose process cannot record the span."""
    job, row = (
        session.get_one(Job, attempt.job_id),
        session.get_one(Attempt, (attempt.job_id, attempt.number)),
    )
    of_job = (JobKind(job.kind), job.queue, job.sweep_id, job.traceparent)
    return Origin(attempt, *of_job, row.worker, row.started_at)


def record(
    session: Session, attempt: AttemptId, progress: Progress, *, lease_s: float, now: Now = database_now
) -> None:
    """Store progress, with a checkpoint after its last epoch, and extend the lease.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    if record_progress(session, attempt, progress, lease_s=lease_s, now=now):
        return
    fence = (Job.id == attempt.job_id, Job.attempt == attempt.number, Job.state == JobState.RUNNING)
    renewal = update(_JOBS).where(*fence).values(lease_expires_at=now(lease_s)).returning(Job.next_epoch)
    next_epoch = session.scalar(renewal)
    if next_epoch is None:
        raise StaleAttempt(f"{attempt} has ended: the job no longer runs under it")
    if progress.next_epoch not in (None, next_epoch):
        raise StaleAttempt(f"job {attempt.job_id} is not at epoch {progress.first_epoch}")


@dataclass(frozen=True)
class Success:
    """The success of an attempt.

    Attributes:
        evaluated: the model that an evaluation job has evaluated; None for a training job, whose model is the
            one that it has trained.
    """

    attempt: AttemptId
    produced: Produced
    progress: Progress = NO_PROGRESS
    evaluated: UUID | None = None

    @property
    def is_model(self) -> bool:
        """Whether the attempt has trained a model."""
        return self.evaluated is None and self.produced.has_model

    def end(self) -> End:
        """Return the end of the attempt."""
        model_id, result = self.attempt.job_id if self.is_model else self.evaluated, self.produced.result
        data = {"model_id": model_id and str(model_id), "accuracy": result and result.accuracy}
        event_data = {name: value for name, value in data.items() if value is not None}
        return End(
            self.attempt,
            NewEvent(EventType.SUCCEEDED, event_data),
            AttemptOutcome.SUCCEEDED,
            self.progress,
            values={
                f"{EVALUATION}{name}": value for name, value in (result.values if result else {}).items()
            },
            columns={"model_id": model_id},
        )


def succeed_each(
    session: Session, successes: Sequence[Success], *, now: Now = database_now
) -> set[AttemptId]:
    """Report that jobs succeeded: store their progress, files, models and results, and end them.

    Returns:
        The stale attempts, whose jobs no longer run under them; nothing is written for these.
    """
    ended = end_attempts(session, [success.end() for success in successes], now=now)
    of_jobs = [
        (success.attempt.job_id, success.produced, success.is_model)
        for success in successes
        if ended.get(success.attempt)
    ]
    add_produced(session, of_jobs, now=now)
    return {success.attempt for success in successes} - ended.keys()


def fail(
    session: Session,
    attempt: AttemptId,
    failure: AttemptFailure,
    progress: Progress = NO_PROGRESS,
    *,
    retry_in_s: float | None,
    outage_s: float = 0.0,
    now: Now = database_now,
) -> None:
    """Report that an attempt failed; the job is queued again if `retry_in_s` is given and attempts are left.

    Args:
        outage_s: seconds after the first failure with this code during which such failures do not count.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    outcome, data = AttemptOutcome.FAILED, {"code": failure.code, "message": failure.message}
    if retry_in_s is not None:
        event = NewEvent(EventType.RETRY_SCHEDULED, {**data, "retry_in_s": retry_in_s})
        if _is_within(session, attempt, failure.code, outage_s, now):
            counted: dict[str, Any] = {}
            may_retry = Job.max_attempts > 1
        else:
            counted = {"failures": Job.failures + 1}
            may_retry = Job.failures + 1 < Job.max_attempts
        guards, due_at = (*FENCE, *progress.guards, may_retry), now(retry_in_s)
        counted |= LAST_VALUES
        statement = update_of(event.type, *guards, **counted, scheduled_at=due_at, now=now)
        if apply_end(session, statement, End(attempt, event, outcome, progress, failure), now=now):
            return
    error = {"error_code": failure.code, "error_message": failure.message}
    failed = NewEvent(EventType.FAILED, data)
    end_attempt(session, End(attempt, failed, outcome, progress, failure, columns=error), now=now)


def _is_within(session: Session, attempt: AttemptId, code: str, outage_s: float, now: Now) -> bool:
    """Return whether a job's first failure with this code is this one or less than `outage_s` seconds old."""
    if not outage_s:
        return False
    of_job = Attempt.job_id == attempt.job_id, Attempt.error_code == code
    first_at = select(func.min(Attempt.finished_at)).where(*of_job).scalar_subquery()
    return bool(session.scalar(select(func.coalesce(first_at > now(-outage_s), true()))))


def cancel_attempt(
    session: Session, attempt: AttemptId, progress: Progress = NO_PROGRESS, *, now: Now = database_now
) -> None:
    """Report that a running job stopped because a cancel was requested.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    end = End(attempt, NewEvent(EventType.CANCELLED), AttemptOutcome.CANCELLED, progress)
    end_attempt(session, end, now=now)


def release(
    session: Session,
    attempt: AttemptId,
    progress: Progress = NO_PROGRESS,
    *,
    preempted_by: UUID | None = None,
    now: Now = database_now,
) -> None:
    """Return a running job to its queue after its last epoch; the attempt counts as neither failed nor lost.

    Args:
        preempted_by: the urgent job that gets the slot of a preempted attempt; None if it is not preempted.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    event = NewEvent(EventType.RELEASED, {} if preempted_by is None else {"preempted_by": str(preempted_by)})
    end = End(attempt, event, AttemptOutcome.RELEASED, progress)
    if end_attempt(session, end, now=now) and preempted_by:
        preemption.note_preempted(session, attempt, now=now)
