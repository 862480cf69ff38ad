"""The life of an attempt from its claim on: renew, record, report. Every write is fenced by the attempt.

Every function takes an open transaction (`Database.write`) and is idempotent: a transaction whose commit was
not confirmed is run again, finds its own work done and changes nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import Job
from shared.errors import StaleAttempt
from shared.lifecycle import AttemptOutcome, EventType, JobState, Phase
from shared.schemas import EpochMetrics, Evaluation
from shared.store import results
from shared.store.transitions import AttemptFailure, AttemptId, change, end_attempt

_BATCHES = {"batch_loss", "batch_accuracy"}


def renew(session: Session, attempt: AttemptId, *, lease_s: float, now: Now = database_now) -> bool:
    """Extend the attempt's lease; return whether a cancel was requested.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    row = session.execute(
        update(Job)
        .where(*_fence(attempt))
        .values(lease_expires_at=now(lease_s))
        .returning(Job.cancel_requested_at)
    ).one_or_none()
    return _is_cancel_requested(attempt, row)


def is_cancel_requested(session: Session, attempt: AttemptId) -> bool:
    """Return whether a cancel was requested. Reads only.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    row = session.execute(select(Job.cancel_requested_at).where(*_fence(attempt))).one_or_none()
    return _is_cancel_requested(attempt, row)


def _fence(attempt: AttemptId) -> tuple[ColumnElement[bool], ...]:
    return (Job.id == attempt.job_id, Job.attempt == attempt.number, Job.state == JobState.RUNNING)


def _is_cancel_requested(attempt: AttemptId, row: Row[datetime | None] | None) -> bool:
    if row is None:
        raise StaleAttempt(f"{attempt} has ended: the job no longer runs under it")
    return row.cancel_requested_at is not None


def enter_phase(session: Session, attempt: AttemptId, phase: Phase, *, now: Now = database_now) -> None:
    """Record the phase that the attempt enters.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    entered = change(
        session,
        EventType.PHASE_ENTERED,
        attempt.job_id,
        Job.attempt == attempt.number,
        Job.phase.is_distinct_from(phase),
        phase=phase,
        data={"phase": phase},
        now=now,
    )
    if entered is None:  # the attempt was already in this phase, or it is stale
        is_cancel_requested(session, attempt)


def record(
    session: Session,
    attempt: AttemptId,
    epochs: Sequence[EpochMetrics],
    state: bytes,
    *,
    lease_s: float,
    now: Now = database_now,
) -> None:
    """Store finished epochs and the checkpoint after the last one, and extend the lease.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    first, last = epochs[0], epochs[-1]
    changed = change(
        session,
        EventType.EPOCHS_RECORDED,
        attempt.job_id,
        Job.attempt == attempt.number,
        Job.next_epoch == first.epoch,
        next_epoch=last.epoch + 1,
        loss=last.loss,
        accuracy=last.accuracy,
        val_loss=last.val_loss,
        val_accuracy=last.val_accuracy,
        lease_expires_at=now(lease_s),
        # without the batches' values, which are in the epochs' rows: they would double what a job stores
        data={"epochs": [epoch.model_dump(mode="json", exclude=_BATCHES) for epoch in epochs]},
        now=now,
    )
    if changed is not None:
        results.add_epochs(session, attempt.job_id, attempt.number, epochs)
        results.put_checkpoint(session, attempt.job_id, last.epoch + 1, state)
        return
    renew(session, attempt, lease_s=lease_s, now=now)
    if session.scalar(select(Job.next_epoch).where(Job.id == attempt.job_id)) != last.epoch + 1:
        raise StaleAttempt(f"job {attempt.job_id} is not at epoch {first.epoch}")


def succeed_training(
    session: Session, attempt: AttemptId, model: results.NewModel, *, now: Now = database_now
) -> None:
    """Report that a training job succeeded: store its model and evaluation and end the job.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    if _succeed(session, attempt, model.id, model.evaluation, now):
        results.add_model(session, attempt.job_id, model, now=now)
        results.add_evaluation(session, attempt.job_id, model.id, model.spec.dataset, model.evaluation)


def succeed_evaluation(
    session: Session, attempt: AttemptId, model_id: UUID, dataset: str, evaluation: Evaluation
) -> None:
    """Report that an evaluation job succeeded: store its evaluation and end the job.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    if _succeed(session, attempt, model_id, evaluation, database_now):
        results.add_evaluation(session, attempt.job_id, model_id, dataset, evaluation)


def _succeed(session: Session, attempt: AttemptId, model_id: UUID, evaluation: Evaluation, now: Now) -> bool:
    return end_attempt(
        session,
        EventType.SUCCEEDED,
        attempt,
        AttemptOutcome.SUCCEEDED,
        model_id=model_id,
        evaluation_accuracy=evaluation.accuracy,
        data={"model_id": str(model_id), "accuracy": evaluation.accuracy},
        now=now,
    )


def fail(
    session: Session,
    attempt: AttemptId,
    failure: AttemptFailure,
    *,
    retry_in_s: float | None,
    now: Now = database_now,
) -> None:
    """Report that an attempt failed; the job is queued again if `retry_in_s` is given and attempts are left.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    data = {"code": failure.code, "message": failure.message}
    if retry_in_s is not None:
        retried = change(
            session,
            EventType.RETRY_SCHEDULED,
            attempt.job_id,
            Job.attempt == attempt.number,
            Job.failures + 1 < Job.max_attempts,
            failures=Job.failures + 1,
            scheduled_at=now(retry_in_s),
            outcome=AttemptOutcome.FAILED,
            failure=failure,
            data={**data, "retry_in_s": retry_in_s},
            now=now,
        )
        if retried is not None:
            return
    end_attempt(
        session,
        EventType.FAILED,
        attempt,
        AttemptOutcome.FAILED,
        failures=Job.failures + 1,
        error_code=failure.code,
        error_message=failure.message,
        failure=failure,
        data=data,
        now=now,
    )


def cancel_attempt(session: Session, attempt: AttemptId, *, now: Now = database_now) -> None:
    """Report that a running job stopped because a cancel was requested.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    end_attempt(session, EventType.CANCELLED, attempt, AttemptOutcome.CANCELLED, now=now)


def release(session: Session, attempt: AttemptId, *, now: Now = database_now) -> None:
    """Return a running job to its queue at its last recorded epoch; counts neither a failure nor a crash.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    end_attempt(session, EventType.RELEASED, attempt, AttemptOutcome.RELEASED, now=now)
