"""Attempts without races or repeats: leases, recorded epochs, and the ends of attempts."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Epoch
from shared.errors import ModelNotFound, StaleAttempt
from shared.formats.results import MODEL, ONNX_FILE, NewArtifact, Produced
from shared.lifecycle import AttemptOutcome, EventType, JobState, Phase
from shared.store import artifacts, attempts, evaluations, job_edits, models, results
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support import stored
from tests.support.factories import (
    as_shown,
    make_epoch,
    make_evaluate_spec,
    make_evaluation,
    make_model,
    make_new_job,
    make_progress,
    make_regression,
)
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import (
    claim,
    record,
    record_progress,
    running,
    succeed_attempt,
    succeed_evaluation,
    succeeded,
)
from tests.support.stored import all_rows

_FAILURE = AttemptFailure("internal", "it broke")


def test_the_phase_is_cleared_when_the_attempt_ends(database: Database) -> None:
    attempt = running(database)

    record_progress(database, attempt, make_progress(*Phase))
    assert stored.job(database, attempt.job_id).phase == Phase.SAVING
    [progress] = stored.events(database, attempt.job_id)[2:]
    assert [entered["phase"] for entered in progress.data["phases"]] == list(Phase)
    database.write(lambda session: attempts.release(session, attempt))
    assert stored.job(database, attempt.job_id).phase is None


def test_recording_epochs_stores_a_checkpoint_and_extends_the_lease(
    database: Database, clock: FrozenClock
) -> None:
    attempt, epochs = running(database), [make_epoch(0), make_epoch(1)]
    progress = make_progress(*epochs, state=b"after 1")
    database.write(lambda session: attempts.record(session, attempt, progress, lease_s=30, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.next_epoch, job.lease_expires_at) == (2, clock.moment + timedelta(seconds=30))
    assert job.last_values == epochs[1].values
    assert stored.values(database, attempt.job_id) == {}
    assert database.read(lambda session: stored.epochs(session, attempt.job_id)) == epochs
    checkpoint = database.read(lambda session: results.checkpoint(session, attempt.job_id))
    assert checkpoint == results.StoredCheckpoint(2, b"after 1")
    event = stored.events(database, attempt.job_id)[-1]
    assert event.type == EventType.PROGRESS
    # the values of the batches are in the epochs' rows only
    at = f"{clock.moment:%Y-%m-%dT%H:%M:%S.%fZ}"
    assert event.data == {"phases": [], "epochs": [epoch.summary | {"at": at} for epoch in epochs]}
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
        record_progress(database, attempt, make_progress(*epochs))
    assert database.read(all_rows) == before


def test_success_of_a_training_job_stores_its_model_and_its_evaluation(
    database: Database, clock: FrozenClock
) -> None:
    attempt, model = running(database), make_model()
    record(database, attempt, 3)
    database.write(lambda session: succeed_attempt(session, attempt, model.produced, now=clock))
    job, row = stored.job(database, attempt.job_id), stored.attempt(database, attempt.job_id, 1)
    assert (job.state, job.finished_at, job.model_id) == (JobState.SUCCEEDED, clock.moment, job.id)
    evaluated = {f"evaluation_{name}": value for name, value in model.evaluation.values.items()}
    assert set(evaluated) == {"evaluation_accuracy", "evaluation_loss"}
    assert job.last_values == {**make_epoch(2).values, **evaluated} == stored.values(database, attempt.job_id)
    assert (job.lease_owner, job.lease_expires_at, job.phase) == (None, None, None)
    assert (row.outcome, row.finished_at) == (AttemptOutcome.SUCCEEDED, clock.moment)
    assert stored.events(database, attempt.job_id)[-1].data == {
        "model_id": str(job.id),
        "accuracy": model.evaluation.accuracy,
    }
    evaluation = database.read(lambda session: evaluations.get(session, attempt.job_id))
    assert evaluation.confusion_matrix == as_shown(model.evaluation).confusion_matrix
    assert database.read(lambda session: models.find(session, job.id)).weights_sha256 == model.weights_sha256


def test_a_model_that_cannot_be_stored_leaves_the_job_running(database: Database) -> None:
    attempt = running(database)
    [row, *rows] = make_evaluation().per_class
    impossible = replace(make_evaluation(), per_class=(row.model_copy(update={"correct": 6}), *rows))
    produced = make_model(evaluation=impossible).produced
    before = database.read(all_rows)
    with pytest.raises(Exception, match="ck_class_results_counts"):
        database.write(lambda session: succeed_attempt(session, attempt, produced))
    assert database.read(all_rows) == before
    with pytest.raises(ModelNotFound):
        database.read(lambda session: models.file(session, attempt.job_id, ONNX_FILE))


_FILE = NewArtifact("notes.txt", b"it converged", media_type="text/plain")


@pytest.mark.parametrize(
    ("produced", "has_model"),
    [
        (Produced(), False),
        (Produced(artifacts=(_FILE,)), False),
        (Produced(result=make_regression()), False),
        (Produced(artifacts=(NewArtifact("model.pt", b"a model", MODEL), _FILE)), True),
    ],
)
def test_a_job_may_produce_anything_and_nothing(
    database: Database, produced: Produced, has_model: bool
) -> None:
    attempt = running(database)
    database.write(lambda session: succeed_attempt(session, attempt, produced))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.model_id) == (JobState.SUCCEEDED, job.id if has_model else None)
    assert "evaluation_accuracy" not in job.last_values
    files = database.read(lambda session: artifacts.of_job(session, job.id))
    assert [(file.name, file.role, file.media_type) for file in files] == [
        (artifact.name, artifact.role, artifact.media_type) for artifact in produced.artifacts
    ]
    last = stored.events(database, job.id)[-1]
    assert last.data == ({"model_id": str(job.id)} if has_model else {})


def test_a_model_of_an_evaluation_job_is_a_file_of_the_job(database: Database) -> None:
    _, model = succeeded(database)
    attempt = running(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)
    produced = Produced(artifacts=(NewArtifact("model.pt", b"a model", MODEL),))
    database.write(lambda session: succeed_attempt(session, attempt, produced, evaluated=model.id))
    assert stored.job(database, attempt.job_id).model_id == model.id
    with pytest.raises(ModelNotFound):
        database.read(lambda session: models.find(session, attempt.job_id))


def test_success_of_an_evaluation_job_stores_its_evaluation(database: Database) -> None:
    _, model = succeeded(database)
    attempt = running(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)
    measured = make_evaluation(loss=0.7)
    succeed_evaluation(database, attempt, model.id, measured)
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.model_id) == (JobState.SUCCEEDED, model.id)
    evaluation = database.read(lambda session: evaluations.get(session, attempt.job_id))
    assert (evaluation.loss, evaluation.model_id, evaluation.dataset) == (0.7, model.id, "mnist")


def test_a_retryable_failure_schedules_a_retry(database: Database, clock: FrozenClock) -> None:
    attempt = running(database, max_attempts=2)
    record(database, attempt, 1)
    database.write(lambda session: attempts.fail(session, attempt, _FAILURE, retry_in_s=7.5, now=clock))
    job, row = stored.job(database, attempt.job_id), stored.attempt(database, attempt.job_id, 1)
    assert (job.state, job.failures, job.lost_attempts, job.error_code) == (JobState.QUEUED, 1, 0, None)
    assert job.scheduled_at == clock.moment + timedelta(seconds=7.5)
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
    second = claim(database, job_id, owner="worker-1/2").attempt
    database.write(lambda session: attempts.fail(session, second, _FAILURE, retry_in_s=0))
    assert stored.job(database, job_id).state == JobState.FAILED
    job = stored.job(database, job_id)
    assert (job.failures, job.error_code, job.error_message) == (2, "internal", "it broke")


def test_failures_of_an_outage_count_only_after_a_time(database: Database, clock: FrozenClock) -> None:
    job_id = running(database, max_attempts=2).job_id
    fail = partial(attempts.fail, failure=_FAILURE, retry_in_s=0, outage_s=100.0, now=clock)
    for number in range(1, 5):
        database.write(partial(fail, attempt=AttemptId(job_id, number)))
        assert (stored.job(database, job_id).state, stored.job(database, job_id).failures) == ("queued", 0)
        clock.advance(30)
        claim(database, job_id, now=clock)
    clock.advance(1)
    database.write(partial(fail, attempt=AttemptId(job_id, 5)))
    assert (stored.job(database, job_id).state, stored.job(database, job_id).failures) == ("queued", 1)
    claim(database, job_id, now=clock)
    database.write(partial(fail, attempt=AttemptId(job_id, 6)))
    assert (stored.job(database, job_id).state, stored.job(database, job_id).failures) == ("failed", 2)


def test_a_failure_with_another_code_counts_during_an_outage(database: Database, clock: FrozenClock) -> None:
    job_id = running(database, max_attempts=3).job_id
    away = AttemptFailure("data_unavailable", "no route")
    for number, failure, failures in ((1, away, 0), (2, _FAILURE, 1), (3, away, 1)):
        attempt = AttemptId(job_id, number)
        outage_s = 100.0 if failure is away else 0.0
        fail = partial(attempts.fail, attempt=attempt, failure=failure, retry_in_s=0, outage_s=outage_s)
        database.write(partial(fail, now=clock))
        assert stored.job(database, job_id).failures == failures
        claim(database, job_id, now=clock)


def test_a_job_that_is_to_run_once_is_not_retried_in_an_outage(database: Database) -> None:
    attempt = running(database, max_attempts=1)
    fail = partial(attempts.fail, attempt=attempt, failure=_FAILURE, retry_in_s=0, outage_s=100.0)
    database.write(fail)
    assert stored.job(database, attempt.job_id).state == JobState.FAILED


def test_a_permanent_failure_ends_the_job(database: Database, clock: FrozenClock) -> None:
    attempt = running(database, max_attempts=3)
    database.write(lambda session: attempts.fail(session, attempt, _FAILURE, retry_in_s=None, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.failures, job.finished_at) == (JobState.FAILED, 1, clock.moment)
    assert stored.event_types(database, attempt.job_id)[-1] == EventType.FAILED


def test_a_released_job_is_queued_and_its_attempt_is_neither_failed_nor_lost(database: Database) -> None:
    attempt = running(database)
    record(database, attempt, 1)
    database.write(lambda session: attempts.release(session, attempt))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.failures, job.lost_attempts, job.next_epoch) == (JobState.QUEUED, 0, 0, 1)
    assert stored.attempt(database, attempt.job_id, 1).outcome == AttemptOutcome.RELEASED


def test_a_job_takes_as_long_as_its_attempts_without_the_time_between_them(
    database: Database, clock: FrozenClock
) -> None:
    new = make_new_job()
    database.write(partial(submit_job, new=new, now=clock))
    for ran_s, then_s in ((10.0, 100.0), (5.0, 0.0)):
        attempt = claim(database, new.id, now=clock).attempt
        clock.advance(ran_s)
        if then_s:
            database.write(partial(attempts.release, attempt=attempt, now=clock))
            clock.advance(then_s)
    database.write(partial(attempts.cancel_attempt, attempt=attempt, now=clock))
    assert stored.job(database, new.id).duration_s == pytest.approx(15.0, abs=0.002)


def test_a_job_that_is_cancelled_while_it_waits_again_took_as_long_as_it_ran(
    database: Database, clock: FrozenClock
) -> None:
    new = make_new_job()
    database.write(partial(submit_job, new=new, now=clock))
    attempt = claim(database, new.id, now=clock).attempt
    clock.advance(10.0)
    database.write(partial(attempts.release, attempt=attempt, now=clock))
    clock.advance(100.0)
    database.write(partial(job_edits.request_cancel, job_id=new.id, now=clock))
    assert stored.job(database, new.id).duration_s == pytest.approx(10.0, abs=0.002)
