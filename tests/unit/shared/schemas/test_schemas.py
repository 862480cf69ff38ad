"""Validation of job requests and of specifications."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.schemas import (
    EvaluateJobCreate,
    EvaluateSpec,
    JobCreate,
    ModelKind,
    Optimizer,
    Priority,
    TrainJobCreate,
    TrainRequest,
    TrainSpec,
)
from tests.support.factories import make_spec

_MODEL_ID = UUID(int=1)


def test_an_empty_request_has_the_defaults_of_the_codelab() -> None:
    request = TrainRequest()
    assert (request.dataset, request.model, request.optimizer) == ("mnist", ModelKind.CNN, Optimizer.ADAM)
    assert (request.epochs, request.batch_size, request.learning_rate) == (10, 512, 0.001)
    assert (request.train_size, request.validation_size, request.evaluation_size) == (None, None, None)


@pytest.mark.parametrize(
    "invalid",
    [
        {"epoch": 5},  # misspelt
        {"epochs": 0},
        {"epochs": 1_001},
        {"batch_size": 0},
        {"train_size": 0},
        {"learning_rate": 0},
        {"learning_rate": 10.5},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"optimizer": "adamw"},
        {"model": "transformer"},
        {"dataset": ""},
        {"seed": -1},
        {"seed": 2**31},
        {"threshold": -0.1},
        {"threshold": 1.1},
        {"keep_weights": 1},
        {"keep_weights": "true"},
        {"keep_weights": None},
    ],
    ids=str,
)
def test_invalid_training_requests_are_refused(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainRequest.model_validate(invalid)


def test_a_complete_spec_has_no_defaults() -> None:
    with pytest.raises(ValidationError) as error:
        TrainSpec.model_validate({})
    assert {problem["loc"][0] for problem in error.value.errors()} == {
        "train_size",
        "validation_size",
        "evaluation_size",
        "seed",
    }
    with pytest.raises(ValidationError):
        EvaluateSpec.model_validate({"model_id": _MODEL_ID})


def test_a_spec_survives_a_round_trip_through_json() -> None:
    spec = make_spec(threshold=0.5, learning_rate=0.1)
    assert TrainSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(("train_size", "steps"), [(1, 1), (50, 1), (51, 2), (100, 2)])
def test_the_last_partial_batch_is_a_step(train_size: int, steps: int) -> None:
    assert make_spec(train_size=train_size, batch_size=50).steps_per_epoch == steps


def test_the_kind_selects_the_schema_of_a_request() -> None:
    adapter: TypeAdapter[TrainJobCreate | EvaluateJobCreate] = TypeAdapter(JobCreate)
    assert adapter.validate_python({"kind": "train"}) == TrainJobCreate()
    evaluation = adapter.validate_python({"kind": "evaluate", "spec": {"model_id": str(_MODEL_ID)}})
    assert isinstance(evaluation, EvaluateJobCreate)
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "evaluate"})
    with pytest.raises(ValidationError, match="expected tags: 'train', 'evaluate'"):
        adapter.validate_python({"kind": "predict"})


@pytest.mark.parametrize(
    "invalid",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"tags": ["x"] * 17},
        {"tags": [""]},
        {"queue": ""},
        {"queue": "Default"},
        {"queue": "default.high"},  # the dot divides a queue from its priority in the list's name
        {"queue": "x" * 65},
        {"priority": "first"},
        {"max_attempts": 0},
        {"max_attempts": 11},
        {"max_runtime_s": 0},
        {"max_runtime_s": float("inf")},
        {"state": "succeeded"},
    ],
    ids=str,
)
def test_invalid_job_options_are_refused(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainJobCreate.model_validate(invalid)


def test_repeated_tags_are_removed() -> None:
    assert TrainJobCreate(tags=("b", "a", "b")).tags == ("b", "a")


def test_priorities_are_defined_in_the_order_in_which_jobs_start() -> None:
    assert list(Priority) == ["urgent", "high", "normal", "low"]
