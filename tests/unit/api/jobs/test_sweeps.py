from math import log10
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api.jobs.sweeps import combinations
from shared.errors import InvalidSpec
from shared.schemas import GridSweepCreate, SweepCreate


def _request(**request: Any) -> SweepCreate:
    adapter: TypeAdapter[SweepCreate] = TypeAdapter(SweepCreate)
    return adapter.validate_python(request)


def test_grid_has_every_combination_once() -> None:
    request = _request(strategy="grid", parameters={"epochs": [1, 2], "optimizer": ["adam", "sgd"]})

    assert list(combinations(request)) == [
        {"epochs": 1, "optimizer": "adam"},
        {"epochs": 1, "optimizer": "sgd"},
        {"epochs": 2, "optimizer": "adam"},
        {"epochs": 2, "optimizer": "sgd"},
    ]


def test_grid_of_too_many_combinations_is_refused_before_it_is_expanded() -> None:
    request = _request(
        strategy="grid",
        parameters={"seed": list(range(1000)), "epochs": list(range(1, 1001)), "model": ["cnn"]},
    )

    with pytest.raises(InvalidSpec, match="1,000,000 combinations"):
        combinations(request)


def _random(count: int, seed: int | None, **parameters: Any) -> list[dict[str, Any]]:
    return list(
        combinations(_request(strategy="random", count=count, sweep_seed=seed, parameters=parameters))
    )


def test_random_values_are_from_their_ranges_and_lists() -> None:
    jobs = _random(
        300,
        1,
        learning_rate={"min": 1e-4, "max": 1e-1, "log": True},
        batch_size={"min": 8, "max": 64},
        optimizer=["adam", "sgd"],
    )

    rates = [log10(values["learning_rate"]) for values in jobs]
    assert min(rates) >= -4
    assert max(rates) <= -1
    assert sum(rate < -2.5 for rate in rates) == pytest.approx(150, abs=40)
    assert {type(values["batch_size"]) for values in jobs} == {int}
    assert {values["optimizer"] for values in jobs} == {"adam", "sgd"}
    assert min(values["batch_size"] for values in jobs) >= 8


def test_same_sweep_seed_draws_the_same_values() -> None:
    learning_rate = {"min": 0.1, "max": 1.0}

    first, again, other = (_random(9, seed, learning_rate=learning_rate) for seed in (1, 1, 2))

    assert first == again != other


@pytest.mark.parametrize("numbers", [{"min": 2, "max": 1}, {"min": 0, "max": 1, "log": True}])
def test_empty_range_is_refused_by_name(numbers: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match="must have min <= max") as refused:
        _random(1, None, learning_rate=numbers)

    assert (refused.value.part, refused.value.field) == ("parameters", "learning_rate")


def test_range_of_one_number_is_that_number() -> None:
    assert (
        _random(2, None, learning_rate={"min": 0.003, "max": 0.003, "log": True})
        == [{"learning_rate": 0.003}] * 2
    )


@pytest.mark.parametrize(
    "request_",
    [
        {"strategy": "grid", "parameters": {}},
        {"strategy": "grid", "parameters": {"epochs": []}},
        {"strategy": "grid", "parameters": {"epochs": {"min": 1, "max": 2}}},
        {"strategy": "grid", "parameters": {"datasets": ["mnist"]}},
        {"strategy": "random", "count": 1001, "parameters": {"epochs": [1]}},
        {"strategy": "random", "count": True, "parameters": {"epochs": [1]}},
        {"strategy": "random", "count": 1, "parameters": {"epochs": [None]}},
    ],
)
def test_invalid_sweep_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _request(**request_)


def test_equal_values_of_a_grid_are_refused_by_name() -> None:
    request = GridSweepCreate(parameters={"epochs": (1, 2), "learning_rate": (0.1, 0.01, 0.1)})
    with pytest.raises(InvalidSpec, match=r"must be different values: 0\.1 would be") as refused:
        combinations(request)
    assert (refused.value.field, refused.value.part) == ("learning_rate", "parameters")
