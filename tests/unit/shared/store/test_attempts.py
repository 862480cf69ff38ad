"""Attempts without races or repeats: claims, leases, recorded epochs, and the ends of attempts."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import Checkpoint, Epoch
from shared.errors import ModelNotFound, StaleAttempt
from shared.lifecycle import AttemptOutcome, EventType, JobState, Phase
from shared.schemas import ModelFormat
from shared.store import attempts, evaluations, job_edits, models, results
from shared.store.attempts import Claim
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure
from tests.support import stored
from tests.support.factories import (
    cancelled,
    claimed,
    failed,
    make_epoch,
    make_evaluate_spec,
    make_evaluation,
    make_model,
    make_new_job,
    make_worker_info,
    record,
    running,
    succeeded,
)
from tests.support.fakes import FrozenClock
from tests.support.stored import all_rows

_FAILURE = AttemptFailure("internal", "it broke")


def _claim(
    database: Database, job_id: UUID, *, owner: str = "worker-2/1", now: Now = database_now
) -> Claim | None:
    worker = make_worker_info(name="worker-2", device="GPU 0")
    return database.write(
        lambda session: attempts.claim(session, job_id, worker=worker, owner=owner, lease_s=30, now=now)
    )


def test_a_claim_starts_a_numbered_attempt_with_a_lease(database: Database, clock: FrozenClock) -> None:
    new = make_new_job(max_runtime_s=5.0)
    database.write(lambda session: submit_job(session, new, now=clock))
    clock.advance(1)
    claim = _claim(database, new.id, now=clock)
    assert claim is not None
    assert (claim.attempt.job_id, claim.attempt.number) == (new.id, 1)
    assert (claim.kind, claim.spec) == ("train", new.spec.model_dump(mode="json"))
    assert (claim.max_runtime_s, claim.checkpoint) == (5.0, None)
    job, attempt = stored.job(database, new.id), stored.attempt(database, new.id, 1)
    assert (job.state, job.lease_owner, job.version) == (JobState.RUNNING, "worker-2/1", 2)
    assert job.lease_expires_at == clock.moment + timedelta(seconds=30)
    assert job.started_at == attempt.started_at == clock.moment
    assert (attempt.worker, attempt.device, attempt.outcome) == ("worker-2", "GPU 0", None)
    assert stored.events(database, new.id)[-1].data == {"worker": "worker-2"}


def test_a_later_attempt_does_not_change_when_its_job_started(database: Database, clock: FrozenClock) -> None:
    new = make_new_job()
    database.write(lambda session: submit_job(session, new, now=clock))
    first, started_at = _claim(database, new.id, now=clock), clock.moment
    assert first is not None
    database.write(lambda session: attempts.release(session, first.attempt, now=clock))
    clock.advance(60)
    second = _claim(database, new.id, owner="worker-3/1", now=clock)
    assert second is not None
    assert second.attempt.number == 2
    assert stored.job(database, new.id).started_at == started_at
    assert stored.attempt(database, new.id, 2).started_at == clock.moment


def test_only_queued_jobs_can_be_claimed(database: Database) -> None:
    ids = [running(database).job_id, succeeded(database)[0], failed(database), cancelled(database), uuid7()]
    before = database.read(all_rows)
    assert [_claim(database, job_id) for job_id in ids] == [None] * 5
    assert database.read(all_rows) == before


def test_a_job_is_not_claimed_before_it_is_due(database: Database, clock: FrozenClock) -> None:
    attempt = running(database)
    database.write(lambda session: attempts.fail(session, attempt, _FAILURE, retry_in_s=10, now=clock))
    clock.advance(9.999)
    assert _claim(database, attempt.job_id, now=clock) is None
    clock.advance(0.001)
    assert _claim(database, attempt.job_id, now=clock) is not None


def test_a_queued_job_with_a_cancel_request_is_not_claimed(database: Database) -> None:
    attempt = running(database)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
    database.write(lambda session: attempts.release(session, attempt))
    assert _claim(database, attempt.job_id) is None


def test_the_next_attempt_resumes_after_the_last_recorded_epoch(database: Database) -> None:
    attempt = running(database)
    record(database, attempt, 2)
    database.write(lambda session: attempts.release(session, attempt))
    claim = _claim(database, attempt.job_id)
    assert claim is not None
    assert claim.checkpoint == results.StoredCheckpoint(2, b"the state after it")
    record(database, claim.attempt, 1, first=2)
    epochs = database.read(lambda session: stored.epochs(session, attempt.job_id))
    assert epochs == [make_epoch(epoch) for epoch in range(3)]


@pytest.mark.parametrize(
    "damage",
    [
        update(Checkpoint).values(state=b"the state after jt"),
        update(Checkpoint).values(state=b""),
        update(Checkpoint).values(sha256="0" * 64),
        update(Checkpoint).values(next_epoch=1),
        delete(Checkpoint),
    ],
    ids=["a flipped bit", "truncated", "another checksum", "another epoch", "missing"],
)
def test_a_job_without_a_valid_checkpoint_starts_over(database: Database, damage: Any) -> None:
    attempt = running(database)
    record(database, attempt, 2)
    database.write(lambda session: attempts.release(session, attempt))
    database.write(lambda session: session.execute(damage))
    claim = _claim(database, attempt.job_id)
    assert claim is not None
    assert claim.checkpoint is None
    job = stored.job(database, attempt.job_id)
    assert (job.next_epoch, job.loss, job.accuracy, job.val_loss, job.val_accuracy) == (0, *[None] * 4)
    assert database.read(lambda session: stored.epochs(session, attempt.job_id)) == []
    record(database, claim.attempt, 3)
    assert database.read(lambda session: stored.epochs(session, attempt.job_id)) == [
        make_epoch(epoch) for epoch in range(3)
    ]


def test_a_renewal_extends_the_lease_and_nothing_else(database: Database, clock: FrozenClock) -> None:
    attempt = running(database)
    version = stored.job(database, attempt.job_id).version
    assert database.write(lambda session: attempts.renew(session, attempt, lease_s=20, now=clock)) is False
    job = stored.job(database, attempt.job_id)
    assert (job.lease_expires_at, job.version) == (clock.moment + timedelta(seconds=20), version)


def test_a_renewal_and_a_check_report_a_cancel_request(database: Database) -> None:
    attempt = running(database)
    assert database.read(lambda session: attempts.is_cancel_requested(session, attempt)) is False
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
    assert database.write(lambda session: attempts.renew(session, attempt, lease_s=20)) is True
    assert database.read(lambda session: attempts.is_cancel_requested(session, attempt)) is True


def test_the_phase_is_cleared_when_the_attempt_ends(database: Database) -> None:
    attempt = running(database)

    def enter_all(session: Session) -> None:
        for phase in Phase:
            attempts.enter_phase(session, attempt, phase)

    database.write(enter_all)
    assert stored.job(database, attempt.job_id).phase == Phase.SAVING
    assert [event.data["phase"] for event in stored.events(database, attempt.job_id)[2:]] == list(Phase)
    database.write(lambda session: attempts.release(session, attempt))
    assert stored.job(database, attempt.job_id).phase is None


def test_recording_epochs_stores_a_checkpoint_and_extends_the_lease(
    database: Database, clock: FrozenClock
) -> None:
    attempt, epochs = running(database), [make_epoch(0), make_epoch(1)]
    database.write(
        lambda session: attempts.record(session, attempt, epochs, b"after 1", lease_s=30, now=clock)
    )
    job = stored.job(database, attempt.job_id)
    assert (job.next_epoch, job.lease_expires_at) == (2, clock.moment + timedelta(seconds=30))
    assert (job.loss, job.accuracy, job.val_loss, job.val_accuracy) == (
        epochs[1].loss,
        epochs[1].accuracy,
        epochs[1].val_loss,
        epochs[1].val_accuracy,
    )
    assert database.read(lambda session: stored.epochs(session, attempt.job_id)) == epochs
    checkpoint = database.read(lambda session: results.checkpoint(session, attempt.job_id))
    assert checkpoint == results.StoredCheckpoint(2, b"after 1")
    event = stored.events(database, attempt.job_id)[-1]
    assert event.type == EventType.EPOCHS_RECORDED
    # the values of the batches are in the epochs' rows only
    summaries = [epoch.model_dump(mode="json", exclude={"batch_loss", "batch_accuracy"}) for epoch in epochs]
    assert event.data == {"epochs": summaries}
    rows = database.read(lambda session: session.scalars(select(Epoch.attempt)).all())
    assert rows == [1, 1]


@pytest.mark.parametrize("first", [0, 1, 3])
def test_epochs_that_do_not_follow_the_last_recorded_epoch_are_refused(
    database: Database, first: int
) -> None:
    attempt = running(database)
    record(database, attempt, 2)
    before = database.read(all_rows)
    epochs = [make_epoch(epoch) for epoch in range(first, first + 3)]
    with pytest.raises(StaleAttempt, match=f"not at epoch {first}"):
        database.write(lambda session: attempts.record(session, attempt, epochs, b"y", lease_s=30))
    assert database.read(all_rows) == before


def test_success_of_a_training_job_stores_its_model_and_its_evaluation(
    database: Database, clock: FrozenClock
) -> None:
    attempt, model = running(database), make_model()
    record(database, attempt, 3)
    database.write(lambda session: attempts.succeed_training(session, attempt, model, now=clock))
    job, row = stored.job(database, attempt.job_id), stored.attempt(database, attempt.job_id, 1)
    assert (job.state, job.finished_at, job.model_id) == (JobState.SUCCEEDED, clock.moment, model.id)
    assert job.evaluation_accuracy == model.evaluation.accuracy
    assert (job.lease_owner, job.lease_expires_at, job.phase) == (None, None, None)
    assert (row.outcome, row.finished_at) == (AttemptOutcome.SUCCEEDED, clock.moment)
    assert stored.events(database, attempt.job_id)[-1].data == {
        "model_id": str(model.id),
        "accuracy": model.evaluation.accuracy,
    }
    evaluation = database.read(lambda session: evaluations.get(session, attempt.job_id))
    assert evaluation.confusion_matrix == model.evaluation.confusion_matrix
    assert database.read(lambda session: models.find(session, model.id)).job_id == attempt.job_id


def test_a_model_that_cannot_be_stored_leaves_the_job_running(database: Database) -> None:
    attempt, model = running(database), make_model()
    files: Any = {**model.files, "tflite": b"no such format"}
    before = database.read(all_rows)
    with pytest.raises(Exception, match="ck_model_files_format"):
        database.write(lambda session: attempts.succeed_training(session, attempt, make_model(files=files)))
    assert database.read(all_rows) == before
    with pytest.raises(ModelNotFound):
        database.read(lambda session: models.file(session, model.id, ModelFormat.ONNX))


def test_success_of_an_evaluation_job_stores_its_evaluation(database: Database) -> None:
    _, model = succeeded(database)
    attempt = running(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)
    measured = make_evaluation(loss=0.7)
    database.write(lambda session: attempts.succeed_evaluation(session, attempt, model.id, "mnist", measured))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.model_id) == (JobState.SUCCEEDED, model.id)
    evaluation = database.read(lambda session: evaluations.get(session, attempt.job_id))
    assert (evaluation.loss, evaluation.model_id, evaluation.dataset) == (0.7, model.id, "mnist")


def test_a_retryable_failure_schedules_a_retry(database: Database, clock: FrozenClock) -> None:
    attempt = running(database, max_attempts=2)
    record(database, attempt, 1)
    database.write(lambda session: attempts.fail(session, attempt, _FAILURE, retry_in_s=7.5, now=clock))
    job, row = stored.job(database, attempt.job_id), stored.attempt(database, attempt.job_id, 1)
    assert (job.state, job.failures, job.crashes, job.error_code) == (JobState.QUEUED, 1, 0, None)
    assert (job.scheduled_at, job.dispatched_at) == (clock.moment + timedelta(seconds=7.5), None)
    assert (row.outcome, row.error_code, row.error_message) == ("failed", "internal", "it broke")
    assert job.next_epoch == 1
    assert stored.events(database, attempt.job_id)[-1].data == {
        "code": "internal",
        "message": "it broke",
        "retry_in_s": 7.5,
    }


def test_a_retryable_failure_of_the_last_allowed_attempt_ends_the_job(database: Database) -> None:
    first = running(database, max_attempts=2)
    database.write(lambda session: attempts.fail(session, first, _FAILURE, retry_in_s=0))
    job_id = first.job_id
    assert stored.job(database, job_id).state == JobState.QUEUED
    second = claimed(database, job_id, owner="worker-1/2").attempt
    database.write(lambda session: attempts.fail(session, second, _FAILURE, retry_in_s=0))
    assert stored.job(database, job_id).state == JobState.FAILED
    job = stored.job(database, job_id)
    assert (job.failures, job.error_code, job.error_message) == (2, "internal", "it broke")


def test_a_permanent_failure_ends_the_job(database: Database, clock: FrozenClock) -> None:
    attempt = running(database, max_attempts=3)
    database.write(lambda session: attempts.fail(session, attempt, _FAILURE, retry_in_s=None, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.failures, job.finished_at) == (JobState.FAILED, 1, clock.moment)
    assert stored.event_types(database, attempt.job_id)[-1] == EventType.FAILED


def test_a_released_job_is_queued_without_counting_a_failure_or_a_crash(database: Database) -> None:
    attempt = running(database)
    record(database, attempt, 1)
    database.write(lambda session: attempts.release(session, attempt))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.failures, job.crashes, job.next_epoch) == (JobState.QUEUED, 0, 0, 1)
    assert job.dispatched_at is None
    assert stored.attempt(database, attempt.job_id, 1).outcome == AttemptOutcome.RELEASED
