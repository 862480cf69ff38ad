"""`trainshed sweep`, against a real API."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from trainshed.cli.main import app


def _run(url: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["sweep", *map(str, arguments), "--url", url])


def _submitted(url: str, *arguments: object) -> Any:
    result = _run(url, "submit", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_grid_sweep_has_a_job_for_every_combination(url: str) -> None:
    sweep = _submitted(url, "-p", "learning_rate=0.001,0.01", "-p", "optimizer=adam,sgd", "--epochs", 3)

    assert [job["parameters"] for job in sweep["jobs"]] == [
        {"learning_rate": 0.001, "optimizer": "adam"},
        {"learning_rate": 0.001, "optimizer": "sgd"},
        {"learning_rate": 0.01, "optimizer": "adam"},
        {"learning_rate": 0.01, "optimizer": "sgd"},
    ]


def test_a_random_sweep_draws_values_from_ranges(url: str) -> None:
    sweep = _submitted(url, "-p", "learning_rate=log:0.001..0.1", "-p", "batch_size=32..64", "--count", 5)

    assert len(sweep["jobs"]) == 5
    assert all(32 <= job["parameters"]["batch_size"] <= 64 for job in sweep["jobs"])
    assert sweep["parameters"]["learning_rate"] == {"min": 0.001, "max": 0.1, "log": True}


def test_a_sweep_is_shown_listed_and_cancelled(url: str) -> None:
    assert _run(url, "list").stdout == ""
    sweep = _submitted(url, "-p", "epochs=1,2", "--name", "short")

    assert "epochs" in _run(url, "show", sweep["id"], "--metric", "loss").stdout
    assert "short" in _run(url, "list").stdout
    assert "2 cancelled" in _run(url, "cancel", sweep["id"]).stderr
    assert json.loads(_run(url, "show", sweep["id"], "--json").stdout)["states"] == {"cancelled": 2}
    assert [listed["id"] for listed in json.loads(_run(url, "list", "--json").stdout)] == [sweep["id"]]


@pytest.mark.parametrize(
    "param", ["epochs", "epochs=", "epochs=1..2", "dataset=nothing", "epochs=0,1", "epochs=true"]
)
def test_an_invalid_parameter_is_a_usage_error(url: str, param: str) -> None:
    assert _run(url, "submit", "-p", param).exit_code == 2


def test_a_sweep_is_named_by_the_end_of_its_id_or_as_the_last(url: str) -> None:
    assert "there is no sweep yet" in _run(url, "show", "last").stderr
    sweep = _submitted(url, "-p", "epochs=1,2")
    for reference in ("last", sweep["id"][-8:], sweep["id"]):
        assert json.loads(_run(url, "show", reference, "--json").stdout)["id"] == sweep["id"]
    assert "'zzzz' is not a sweep" in _run(url, "show", "zzzz").stderr


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (("epochs=1,2", "epochs=3"), "--param epochs is given twice: write all of its values in one"),
        (("epoch=1,2",), "--param epoch is not a parameter: did you mean `epochs`?"),
        (("colour=1,2",), "--param colour is not a parameter: the parameters are dataset, model, "),
        (("learning_rate=a,b",), "--param learning_rate: must be a number, more than 0, up to 10, not a"),
        (
            ("learning_rate=log:0..1 --count 3",),
            "--param learning_rate: must have min <= max, and with log 0 < min",
        ),
        (("learning_rate=0.1..0.2",), "--param learning_rate=0.1..0.2 is a range, which needs --count"),
    ],
)
def test_a_mistake_in_parameters_is_explained(url: str, params: tuple[str, ...], message: str) -> None:
    result = _run(url, "submit", *(word for param in params for word in ("-p", *param.split())))
    assert message in result.stderr
    assert result.exit_code == 2
