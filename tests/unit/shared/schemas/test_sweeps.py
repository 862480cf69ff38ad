"""Validation of requests for sweeps."""

from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.schemas import GridSweepCreate, RandomSweepCreate, Range, SweepCreate, TrainRequest
from shared.schemas.sweeps import SweptField

_ADAPTER: TypeAdapter[SweepCreate] = TypeAdapter(SweepCreate)


def test_every_swept_field_is_a_field_of_training_requests() -> None:
    assert set(get_args(SweptField)) < set(TrainRequest.model_fields)


def test_the_strategy_selects_the_schema() -> None:
    grid = _ADAPTER.validate_python({"strategy": "grid", "parameters": {"epochs": [1]}})
    random = _ADAPTER.validate_python(
        {"strategy": "random", "count": 2, "parameters": {"epochs": {"min": 1, "max": 3}}}
    )

    assert isinstance(grid, GridSweepCreate)
    assert isinstance(random, RandomSweepCreate)
    assert random.parameters["epochs"] == Range(min=1, max=3)


@pytest.mark.parametrize(("least", "greatest", "log"), [(2, 1, False), (0, 1, True), (-1, 1, True)])
def test_an_empty_range_is_not_possible(least: float, greatest: float, log: bool) -> None:
    assert not Range(min=least, max=greatest, log=log).is_possible


@pytest.mark.parametrize(("field", "value"), [("min", True), ("min", "1"), ("log", 1), ("log", "true")])
def test_a_range_accepts_nothing_but_numbers_and_a_bool(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Range.model_validate({"min": 1, "max": 1, field: value})


def test_choices_keep_their_types() -> None:
    grid = _ADAPTER.validate_python(
        {"strategy": "grid", "parameters": {"learning_rate": [1, 0.5], "optimizer": ["adam"]}}
    )

    assert grid.parameters == {"learning_rate": (1, 0.5), "optimizer": ("adam",)}
