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


@pytest.mark.parametrize("param", ["epochs", "epochs=", "epochs=1..2", "dataset=mnist", "epochs=0,1"])
def test_an_invalid_parameter_is_a_usage_error(url: str, param: str) -> None:
    assert _run(url, "submit", "-p", param).exit_code == 2
