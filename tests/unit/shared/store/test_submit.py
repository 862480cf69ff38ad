"""Submission: one job for one idempotency key, and requests completed to full specifications."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete

from shared.datasets.catalog import DatasetInfo
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import IdempotencyKey, Job
from shared.errors import IdempotencyKeyReused, InvalidSpec
from shared.lifecycle import EventType, JobState
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    EvaluateSpec,
    Priority,
    TrainJobCreate,
    TrainRequest,
    TrainSpec,
)
from shared.store.submit import MAX_STEPS, Idempotency, NewJob, new_evaluation, new_training, submit_job
from tests.support import stored
from tests.support.factories import NAMES, make_new_job, make_spec
from tests.support.fakes import FrozenClock
from tests.support.stored import all_rows

_MODEL_ID = UUID(int=1)


def _submit(
    database: Database, new: NewJob, key: Idempotency | None = None, now: Now = database_now
) -> tuple[UUID, bool]:
    return database.write(lambda session: submit_job(session, new, idempotency=key, now=now))


def test_a_submitted_job_is_queued_and_due(database: Database, clock: FrozenClock) -> None:
    new = make_new_job(
        name="first", tags=("a", "b"), queue="gpu", priority=Priority.HIGH, max_attempts=2, max_runtime_s=60.0
    )
    assert _submit(database, new, now=clock) == (new.id, True)
    job = stored.job(database, new.id)
    assert (job.state, job.version, job.attempt, job.next_epoch) == (JobState.QUEUED, 1, 0, 0)
    assert {job.created_at, job.scheduled_at} == {clock.moment}
    assert (job.name, job.tags, job.queue, job.priority) == ("first", ["a", "b"], "gpu", "high")
    assert (job.max_attempts, job.max_runtime_s) == (2, 60.0)
    assert job.spec == new.spec.model_dump(mode="json")
    [event] = stored.events(database, new.id)
    assert (event.seq, event.type, event.attempt, event.at) == (1, EventType.SUBMITTED, 0, clock.moment)


def test_a_request_repeated_with_its_idempotency_key_returns_the_first_job(database: Database) -> None:
    first, again, key = make_new_job(), make_new_job(), Idempotency("k", "a" * 64)
    assert _submit(database, first, key) == (first.id, True)
    assert _submit(database, again, key) == (first.id, False)
    assert database.read(lambda session: session.get(Job, again.id)) is None


def test_another_request_with_a_used_idempotency_key_is_refused(database: Database) -> None:
    _submit(database, make_new_job(), Idempotency("k", "a" * 64))
    before = database.read(all_rows)
    with pytest.raises(IdempotencyKeyReused, match="'k' was used for a different request"):
        _submit(database, make_new_job(), Idempotency("k", "b" * 64))
    assert database.read(all_rows) == before


def test_a_deleted_job_takes_its_idempotency_key_with_it(database: Database) -> None:
    new = make_new_job()
    _submit(database, new, Idempotency("k", "a" * 64))
    database.write(lambda session: session.execute(delete(Job).where(Job.id == new.id)))
    assert database.read(lambda session: session.get(IdempotencyKey, "k")) is None


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


def _train_spec(**requested: Any) -> TrainSpec:
    spec = new_training(TrainJobCreate(spec=TrainRequest(**requested)), _dataset()).spec
    assert isinstance(spec, TrainSpec)
    return spec


def _evaluate_spec(model: TrainSpec, **requested: Any) -> EvaluateSpec:
    request = EvaluateJobCreate(kind="evaluate", spec=EvaluateRequest(model_id=_MODEL_ID, **requested))
    spec = new_evaluation(request, _MODEL_ID, model, _dataset()).spec
    assert isinstance(spec, EvaluateSpec)
    return spec


def test_an_empty_request_has_the_defaults_of_the_codelab() -> None:
    spec = _train_spec()
    assert (spec.train_size, spec.validation_size, spec.evaluation_size) == (5_500, 1_000, 500)
    assert (spec.epochs, spec.batch_size, spec.learning_rate) == (10, 512, 0.001)


def test_the_fields_of_a_training_request_are_kept() -> None:
    requested = {
        "train_size": 55_000,
        "validation_size": 7,
        "evaluation_size": 10_000,
        "seed": 0,
        "threshold": 0.0,
    }
    assert _train_spec(**requested).model_dump(include=set(requested)) == requested


def test_a_job_without_a_seed_gets_a_random_valid_seed() -> None:
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
def test_a_size_larger_than_the_dataset_is_refused_with_its_field(field: str, rows: int, kind: str) -> None:
    assert getattr(_train_spec(**{field: rows}), field) == rows
    with pytest.raises(
        InvalidSpec, match=f"{field} is {rows + 1:,}, and the dataset has {rows:,} {kind}"
    ) as error:
        _train_spec(**{field: rows + 1})
    assert error.value.field == field


def test_the_step_limit_counts_the_last_partial_batch() -> None:
    spec = _train_spec(epochs=1_000, train_size=2_000, batch_size=2)
    assert spec.epochs * spec.steps_per_epoch == MAX_STEPS
    with pytest.raises(InvalidSpec, match="1,000 epochs of 1,001 steps are more than 1,000,000"):
        _train_spec(epochs=1_000, train_size=2_001, batch_size=2)


def test_the_step_limit_also_applies_to_the_default_train_size() -> None:
    with pytest.raises(InvalidSpec):
        _train_spec(epochs=1_000, batch_size=1)


def test_an_empty_evaluation_request_has_the_values_of_the_training() -> None:
    model = make_spec(evaluation_size=50, seed=7, threshold=0.3)
    spec = _evaluate_spec(model)
    assert (spec.model_id, spec.evaluation_size, spec.seed, spec.threshold) == (_MODEL_ID, 50, 7, 0.3)


def test_the_fields_of_an_evaluation_request_are_kept() -> None:
    requested = {"evaluation_size": 10_000, "seed": 0, "threshold": 0.0}
    assert (
        _evaluate_spec(make_spec(threshold=0.3), **requested).model_dump(include=set(requested)) == requested
    )


def test_an_evaluation_size_larger_than_the_dataset_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="evaluation_size"):
        _evaluate_spec(make_spec(), evaluation_size=10_001)


def test_queue_options_are_part_of_the_new_job() -> None:
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
    assert training.id < evaluation.id  # ids sort by creation time
