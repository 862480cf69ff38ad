"""Requests are completed to full specifications."""

from typing import Any
from uuid import UUID

import pytest

from shared.datasets.catalog import DatasetInfo
from shared.errors import InvalidSpec
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    EvaluateSpec,
    Priority,
    TrainJobCreate,
    TrainRequest,
    TrainSpec,
)
from shared.store.new_jobs import MAX_STEPS, new_evaluation, new_training
from tests.support.factories import NAMES, make_spec

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


@pytest.mark.parametrize(("model", "most"), [("cnn", 1_000), ("dense", 251)])
def test_weights_are_kept_up_to_a_limit(model: str, most: int) -> None:
    assert _train_spec(model=model, epochs=most, keep_weights=True).keep_weights
    assert _train_spec(model=model, epochs=1_000).epochs == 1_000
    if most < 1_000:
        with pytest.raises(
            InvalidSpec, match=f"252 epochs, 133,600 bytes each.*a dense model may keep those of {most}"
        ) as error:
            _train_spec(model=model, epochs=most + 1, keep_weights=True)
        assert error.value.field == "keep_weights"


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
