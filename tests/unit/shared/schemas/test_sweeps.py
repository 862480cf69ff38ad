from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.schemas import GridSweepCreate, RandomSweepCreate, Range, SweepCreate, Swept, TrainRequest

_FORM: TypeAdapter[SweepCreate] = TypeAdapter(SweepCreate)


def test_every_parameter_that_can_be_swept_is_one_of_a_training_job() -> None:
    assert set(get_args(Swept)) < set(TrainRequest.model_fields)


def test_the_strategy_tells_the_form() -> None:
    grid = _FORM.validate_python({"strategy": "grid", "parameters": {"epochs": [1]}})
    random = _FORM.validate_python(
        {"strategy": "random", "count": 2, "parameters": {"epochs": {"min": 1, "max": 3}}}
    )

    assert isinstance(grid, GridSweepCreate)
    assert isinstance(random, RandomSweepCreate)
    assert random.parameters["epochs"] == Range(min=1, max=3)


@pytest.mark.parametrize(("least", "greatest", "log"), [(2, 1, False), (0, 1, True), (-1, 1, True)])
def test_a_range_without_numbers_is_not_possible(least: float, greatest: float, log: bool) -> None:
    assert not Range(min=least, max=greatest, log=log).is_possible


@pytest.mark.parametrize(("field", "value"), [("min", True), ("min", "1"), ("log", 1), ("log", "true")])
def test_a_range_takes_nothing_else_for_numbers_and_truth(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Range.model_validate({"min": 1, "max": 1, field: value})


def test_numbers_and_words_keep_their_types() -> None:
    grid = _FORM.validate_python(
        {"strategy": "grid", "parameters": {"learning_rate": [1, 0.5], "optimizer": ["adam"]}}
    )

    assert grid.parameters == {"learning_rate": (1, 0.5), "optimizer": ("adam",)}
