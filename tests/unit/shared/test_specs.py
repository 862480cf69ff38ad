"""What is filled in for a client that leaves it out."""

from typing import Any
from uuid import UUID

import pytest

from shared.datasets import DatasetInfo
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
from shared.specs import MAX_STEPS, new_evaluation, new_training
from tests.factories import NAMES, make_spec

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
