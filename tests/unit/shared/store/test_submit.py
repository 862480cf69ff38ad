"""What each function that clients use does when nothing is in its way."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete
from uuid_utils.compat import uuid7

from shared.datasets.catalog import DatasetInfo
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import IdempotencyKey, Job
from shared.errors import IdempotencyKeyReused, InvalidSpec, JobAlreadyFinished, JobNotFound
from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    EvaluateSpec,
    Priority,
    TrainJobCreate,
    TrainRequest,
    TrainSpec,
)
from shared.store import attempts, job_edits
from shared.store.submit import MAX_STEPS, Idempotency, NewJob, new_evaluation, new_training, submit_job
from tests.support import stored
from tests.support.factories import (
    NAMES,
    cancelled,
    failed,
    make_model,
    make_new_job,
    make_spec,
    running,
    submitted,
    succeeded,
)
from tests.support.fakes import FrozenClock
from tests.support.snapshots import everything


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


def _submit(
    database: Database, new: NewJob, key: Idempotency | None = None, now: Now = database_now
) -> tuple[UUID, bool]:
    return database.write(lambda session: submit_job(session, new, idempotency=key, now=now))


def test_a_submitted_job_is_queued_and_counts_as_dispatched(database: Database, clock: FrozenClock) -> None:
    new = make_new_job(
        name="first", tags=("a", "b"), queue="gpu", priority=Priority.HIGH, max_attempts=2, max_runtime_s=60.0
    )
    assert _submit(database, new, now=clock) == (new.id, True)
    job = stored.job(database, new.id)
    assert (job.state, job.version, job.attempt, job.next_epoch) == (JobState.QUEUED, 1, 0, 0)
    assert {job.created_at, job.scheduled_at, job.dispatched_at} == {clock.moment}
    assert (job.name, job.tags, job.queue, job.priority) == ("first", ["a", "b"], "gpu", "high")
    assert (job.max_attempts, job.max_runtime_s) == (2, 60.0)
    assert job.spec == new.spec.model_dump(mode="json")
    [event] = stored.events(database, new.id)
    assert (event.seq, event.type, event.attempt, event.at) == (1, EventType.SUBMITTED, 0, clock.moment)


def test_one_key_with_one_request_is_one_job(database: Database) -> None:
    first, again, key = make_new_job(), make_new_job(), Idempotency("k", "a" * 64)
    assert _submit(database, first, key) == (first.id, True)
    assert _submit(database, again, key) == (first.id, False)
    assert database.read(lambda session: session.get(Job, again.id)) is None


def test_one_key_with_another_request_is_refused_and_nothing_is_stored(database: Database) -> None:
    _submit(database, make_new_job(), Idempotency("k", "a" * 64))
    before = database.read(everything)
    with pytest.raises(IdempotencyKeyReused, match="'k' came with another request"):
        _submit(database, make_new_job(), Idempotency("k", "b" * 64))
    assert database.read(everything) == before


def test_a_key_goes_with_its_job(database: Database) -> None:
    new = make_new_job()
    _submit(database, new, Idempotency("k", "a" * 64))
    database.write(lambda session: session.execute(delete(Job).where(Job.id == new.id)))
    assert database.read(lambda session: session.get(IdempotencyKey, "k")) is None


def test_a_queued_job_is_cancelled_at_once(database: Database, clock: FrozenClock) -> None:
    job_id = submitted(database)
    database.write(lambda session: job_edits.request_cancel(session, job_id, now=clock))
    job = stored.job(database, job_id)
    assert (job.state, job.cancel_requested_at, job.finished_at) == ("cancelled", clock.moment, clock.moment)
    assert stored.event_types(database, job_id) == ["submitted", "cancelled"]


def test_a_running_job_is_asked_and_ends_when_its_worker_has_heard(
    database: Database, clock: FrozenClock
) -> None:
    attempt = running(database)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.cancel_requested_at) == (JobState.RUNNING, clock.moment)
    database.write(lambda session: attempts.cancel_attempt(session, attempt, now=clock))
    assert stored.job(database, attempt.job_id).state == JobState.CANCELLED
    assert stored.attempt(database, attempt.job_id, 1).outcome == AttemptOutcome.CANCELLED
    assert stored.event_types(database, attempt.job_id)[2:] == ["cancel_requested", "cancelled"]


def test_a_worker_that_was_quicker_than_the_cancel_request_has_succeeded(database: Database) -> None:
    attempt = running(database)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
    database.write(lambda session: attempts.succeed_training(session, attempt, make_model()))
    assert stored.job(database, attempt.job_id).state == JobState.SUCCEEDED


def test_asking_twice_to_cancel_is_asking_once(database: Database, clock: FrozenClock) -> None:
    attempt = running(database)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    before = database.read(everything)
    clock.advance(1)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    assert database.read(everything) == before
    job_id = cancelled(database)
    before = database.read(everything)
    database.write(lambda session: job_edits.request_cancel(session, job_id, now=clock))
    assert database.read(everything) == before


def test_a_job_that_was_given_back_after_the_request_is_cancelled_by_asking_again(
    database: Database, clock: FrozenClock
) -> None:
    attempt, asked_at = running(database), clock.moment
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    database.write(lambda session: attempts.release(session, attempt))
    clock.advance(1)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.cancel_requested_at, job.finished_at) == ("cancelled", asked_at, clock.moment)


@pytest.mark.parametrize("finish", [lambda database: succeeded(database)[0], failed])
def test_a_finished_job_cannot_be_cancelled(database: Database, finish: Any) -> None:
    job_id = finish(database)
    before = database.read(everything)
    with pytest.raises(JobAlreadyFinished, match=r"has (succeeded|failed) already"):
        database.write(lambda session: job_edits.request_cancel(session, job_id))
    assert database.read(everything) == before


def test_an_unknown_job_cannot_be_cancelled(database: Database) -> None:
    with pytest.raises(JobNotFound):
        database.write(lambda session: job_edits.request_cancel(session, uuid7()))


_MODEL_ID = UUID(int=1)


def _dataset(**overrides: Any) -> DatasetInfo:
    values: dict[str, Any] = {
        "name": "mnist",
        "train_rows": 55_000,
        "test_rows": 10_000,
        "default_train_size": 5_500,
        "default_validation_size": 1_000,
        "default_evaluation_size": 500,
        "class_names": NAMES,
    }
    return DatasetInfo(**{**values, **overrides})


def _train_spec(**asked: Any) -> TrainSpec:
    spec = new_training(TrainJobCreate(spec=TrainRequest(**asked)), _dataset()).spec
    assert isinstance(spec, TrainSpec)
    return spec


def _evaluate_spec(model: TrainSpec, **asked: Any) -> EvaluateSpec:
    request = EvaluateJobCreate(kind="evaluate", spec=EvaluateRequest(model_id=_MODEL_ID, **asked))
    spec = new_evaluation(request, _MODEL_ID, model, _dataset()).spec
    assert isinstance(spec, EvaluateSpec)
    return spec


def test_an_empty_request_becomes_the_codelabs_job() -> None:
    spec = _train_spec()
    assert (spec.train_size, spec.validation_size, spec.evaluation_size) == (5_500, 1_000, 500)
    assert (spec.epochs, spec.batch_size, spec.learning_rate) == (10, 512, 0.001)


def test_what_the_client_says_is_kept() -> None:
    asked = {
        "train_size": 55_000,
        "validation_size": 7,
        "evaluation_size": 10_000,
        "seed": 0,
        "threshold": 0.0,
    }
    assert _train_spec(**asked).model_dump(include=set(asked)) == asked


def test_a_seed_is_drawn_anew_for_each_job_and_is_one_that_a_client_may_send() -> None:
    seeds = [_train_spec().seed for _ in range(50)]
    assert len(set(seeds)) == 50
    assert [_train_spec(seed=seed).seed for seed in seeds] == seeds


@pytest.mark.parametrize(
    ("field", "rows", "kind"),
    [
        ("train_size", 55_000, "training"),
        ("validation_size", 10_000, "test"),
        ("evaluation_size", 10_000, "test"),
    ],
)
def test_more_images_than_there_are_is_refused(field: str, rows: int, kind: str) -> None:
    assert getattr(_train_spec(**{field: rows}), field) == rows
    with pytest.raises(
        InvalidSpec, match=f"{field} is {rows + 1:,}, and the dataset has {rows:,} {kind}"
    ) as no:
        _train_spec(**{field: rows + 1})
    assert no.value.field == field


def test_the_step_limit_counts_the_last_partial_batch() -> None:
    spec = _train_spec(epochs=1_000, train_size=2_000, batch_size=2)
    assert spec.epochs * spec.steps_per_epoch == MAX_STEPS
    with pytest.raises(InvalidSpec, match="1,000 epochs of 1,001 steps are more than 1,000,000"):
        _train_spec(epochs=1_000, train_size=2_001, batch_size=2)


def test_the_step_limit_holds_for_the_datasets_default_size_too() -> None:
    with pytest.raises(InvalidSpec):
        _train_spec(epochs=1_000, batch_size=1)


def test_an_evaluation_is_as_that_at_the_end_of_the_training() -> None:
    model = make_spec(evaluation_size=50, seed=7, threshold=0.3)
    spec = _evaluate_spec(model)
    assert (spec.model_id, spec.evaluation_size, spec.seed, spec.threshold) == (_MODEL_ID, 50, 7, 0.3)


def test_an_evaluation_may_differ_from_the_training() -> None:
    asked = {"evaluation_size": 10_000, "seed": 0, "threshold": 0.0}
    assert _evaluate_spec(make_spec(threshold=0.3), **asked).model_dump(include=set(asked)) == asked


def test_an_evaluation_of_more_images_than_there_are_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="evaluation_size"):
        _evaluate_spec(make_spec(), evaluation_size=10_001)


def test_what_concerns_the_queue_is_handed_on() -> None:
    options: dict[str, Any] = {
        "name": "first",
        "tags": ("a", "b"),
        "queue": "gpu",
        "priority": Priority.HIGH,
        "max_attempts": 2,
        "max_runtime_s": 60.0,
    }
    training = new_training(TrainJobCreate(**options), _dataset())
    evaluation = new_evaluation(
        EvaluateJobCreate(kind="evaluate", spec=EvaluateRequest(model_id=_MODEL_ID), **options),
        _MODEL_ID,
        make_spec(),
        _dataset(),
    )
    for new in (training, evaluation):
        assert {name: getattr(new, name) for name in options} == options
    assert (training.kind, training.model_id) == ("train", None)
    assert (evaluation.kind, evaluation.model_id) == ("evaluate", _MODEL_ID)
    assert training.id.version == 7
    assert training.id < evaluation.id  # ids sort by the time of their making
