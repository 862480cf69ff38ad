"""Validation of requests for sweeps."""

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.schemas import GridSweepCreate, RandomSweepCreate, Range, SweepCreate, TrainRequest

_ADAPTER: TypeAdapter[SweepCreate] = TypeAdapter(SweepCreate)


def test_every_field_of_training_requests_can_be_swept_and_no_other() -> None:
    parameters = {name: [1, True, "x"] for name in TrainRequest.model_fields}
    grid = _ADAPTER.validate_python({"strategy": "grid", "parameters": parameters})
    assert grid.parameters.keys() == TrainRequest.model_fields.keys()
    with pytest.raises(ValidationError, match="is not a field of the specification: did you mean `epochs`"):
        _ADAPTER.validate_python({"strategy": "grid", "parameters": {"epoch": [1]}})


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
