"""What workers do with attempts at jobs: claim, renew, record, report. Each write is fenced by its attempt.

Every function takes an open transaction (`Database.write`) and may be run again after a lost connection, when
it is not known whether the first run was committed: it then finds its own work done, and does nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import Attempt, Checkpoint, Epoch, Job
from shared.errors import StaleAttempt
from shared.lifecycle import AttemptOutcome, EventType, JobState, Phase
from shared.schemas import EpochMetrics, Evaluation
from shared.store import dispatch, queues, results
from shared.store.transitions import AttemptFailure, AttemptId, change, end_attempt


@dataclass(frozen=True)
class Claim:
    """The right to run a job, and what is needed for it."""

    attempt: AttemptId
    kind: str
    spec: dict[str, Any]
    max_runtime_s: float | None
    checkpoint: results.StoredCheckpoint | None
    failures: int
    request_id: str | None


@dataclass(frozen=True)
class WorkerInfo:
    """Who runs an attempt, and on what."""

    name: str
    device: str
    versions: dict[str, str]


def claim(
    session: Session, job_id: UUID, *, worker: WorkerInfo, owner: str, lease_s: float, now: Now = database_now
) -> Claim | None:
    """Take a queued job that is due, for `lease_s` seconds.

    Args:
        owner: names this one try to claim, so that the same try, run again, finds what it claimed.

    Returns:
        None if there is nothing to claim: another worker has the job, or it is over, not due or unknown; its
        queue is paused, or this worker is to take no jobs.
    """
    claimed = change(
        session,
        EventType.CLAIMED,
        job_id,
        Job.scheduled_at <= now(),
        Job.cancel_requested_at.is_(None),
        queues.admits(worker.name),
        attempt=Job.attempt + 1,
        lease_owner=owner,
        lease_expires_at=now(lease_s),
        started_at=func.coalesce(Job.started_at, now()),
        data={"worker": worker.name},
        now=now,
    )
    if claimed is not None:
        session.add(
            Attempt(
                job_id=job_id,
                number=claimed.attempt,
                worker=worker.name,
                device=worker.device,
                versions=worker.versions,
                started_at=now(),
            )
        )
        session.flush()
    job = session.scalars(
        select(Job).where(Job.id == job_id, Job.state == JobState.RUNNING, Job.lease_owner == owner)
    ).one_or_none()
    if job is None:
        dispatch.hand_back_hint(session, job_id, worker.name)
        return None
    checkpoint = results.checkpoint(session, job_id)
    if checkpoint is None or checkpoint.next_epoch != job.next_epoch:
        checkpoint = None
        _start_over(session, job)
    return Claim(
        attempt=AttemptId(job_id, job.attempt),
        kind=job.kind,
        spec=job.spec,
        max_runtime_s=job.max_runtime_s,
        checkpoint=checkpoint,
        failures=job.failures,
        request_id=job.request_id,
    )


def _start_over(session: Session, job: Job) -> None:
    """Without a sound checkpoint the epochs are trained again; seeds make them the same as before."""
    if job.next_epoch > 0:
        session.execute(delete(Epoch).where(Epoch.job_id == job.id))
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == job.id))
        job.next_epoch = 0
        job.loss = job.accuracy = job.val_loss = job.val_accuracy = None


def renew(session: Session, attempt: AttemptId, *, lease_s: float, now: Now = database_now) -> bool:
    """Extend the attempt's lease; says whether a user asked for the job to be cancelled.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    row = session.execute(
        update(Job)
        .where(Job.id == attempt.job_id, Job.attempt == attempt.number, Job.state == JobState.RUNNING)
        .values(lease_expires_at=now(lease_s))
        .returning(Job.cancel_requested_at)
    ).one_or_none()
    if row is None:
        raise StaleAttempt(f"{attempt} is over: the job no longer runs under it")
    return row.cancel_requested_at is not None


def is_cancel_requested(session: Session, attempt: AttemptId) -> bool:
    """Whether a user asked for the job to be cancelled; reads only.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    row = session.execute(
        select(Job.cancel_requested_at).where(
            Job.id == attempt.job_id, Job.attempt == attempt.number, Job.state == JobState.RUNNING
        )
    ).one_or_none()
    if row is None:
        raise StaleAttempt(f"{attempt} is over: the job no longer runs under it")
    return row.cancel_requested_at is not None


def enter_phase(session: Session, attempt: AttemptId, phase: Phase, *, now: Now = database_now) -> None:
    """Say what the attempt does next.

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
    if entered is None:
        is_cancel_requested(session, attempt)  # raises unless the attempt was in this phase before


def record(
    session: Session,
    attempt: AttemptId,
    epochs: Sequence[EpochMetrics],
    state: bytes,
    *,
    lease_s: float,
    now: Now = database_now,
) -> None:
    """Store finished epochs with the checkpoint after the last of them, and extend the lease.

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
        data={"epochs": [epoch.model_dump(mode="json") for epoch in epochs]},
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
    """End a training job well: its model, its evaluation and its state, all or nothing.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    if _succeed(session, attempt, model.id, model.evaluation, now):
        results.add_model(session, attempt.job_id, model, now=now)
        results.add_evaluation(session, attempt.job_id, model.id, model.spec.dataset, model.evaluation)


def succeed_evaluation(
    session: Session,
    attempt: AttemptId,
    model_id: UUID,
    dataset: str,
    evaluation: Evaluation,
    *,
    now: Now = database_now,
) -> None:
    """End an evaluation job well.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    if _succeed(session, attempt, model_id, evaluation, now):
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
    """End an attempt that failed: the job is queued again if `retry_in_s` is given and it has attempts left.

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
    """End a running job that a user asked to cancel.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    end_attempt(session, EventType.CANCELLED, attempt, AttemptOutcome.CANCELLED, now=now)


def release(session: Session, attempt: AttemptId, *, now: Now = database_now) -> None:
    """Give a running job back to the queue, at its last recorded epoch; counts neither failure nor crash.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    end_attempt(session, EventType.RELEASED, attempt, AttemptOutcome.RELEASED, now=now)
