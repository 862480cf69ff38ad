"""The commands that a page shows send the request that they stand for."""

import json
import shlex
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from fastapi import Request
from pydantic import TypeAdapter
from starlette.datastructures import URL

import trainshed
from api.http.callers import LOCAL_CALLER, Caller
from api.web import commands
from shared.schemas import (
    GridSweepCreate,
    JobCreate,
    RandomSweepCreate,
    Scope,
    SweepCreate,
    TrainJobCreate,
    TrainRequest,
)
from shared.schemas.sweeps import Range
from tests.support.command_line import CommandLine
from tests.support.factories import make_evaluate_request, make_train_request
from tests.support.fake_api import FakeApi

EVALUATION = make_evaluate_request()
HOSTILE = TrainJobCreate(name='it\'s $(rm -rf /) `x` "quoted" \\ ', tags=("--flag", "ü"))
LATER = TrainJobCreate(
    scheduled_at=datetime(2026, 1, 31, 22, tzinfo=UTC), after=(UUID("0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"),)
)
JOBS = [TrainJobCreate(), TrainJobCreate(spec=TrainRequest(epochs=20)), make_train_request(), HOSTILE, LATER]


def page(url: str = "http://127.0.0.1:8000/", caller: Caller | None = LOCAL_CALLER) -> Request:
    return cast("Request", SimpleNamespace(base_url=URL(url), state=SimpleNamespace(caller=caller)))


def body(job: JobCreate) -> dict[str, Any]:
    sent = {"kind": job.kind.value, **job.model_dump(mode="json", exclude_defaults=True)}
    return sent if job.kind == "train" else {**sent, "kind": "evaluate"}


@pytest.mark.parametrize("job", [*JOBS, EVALUATION])
def test_curl_sends_the_request(job: JobCreate) -> None:
    words = shlex.split(commands.of_request(page(), job).curl)

    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/jobs"]
    assert json.loads(words[words.index("-d") + 1]) == body(job)


@pytest.mark.parametrize("job", JOBS)
def test_the_command_sends_the_request(job: JobCreate) -> None:
    command = shlex.split(commands.of_request(page(), job).command)
    cli = CommandLine(FakeApi())

    assert command[0] == "trainshed"
    cli.run(*command[1:])
    assert {"spec": {}, **body(job)} == cli.sent()


def test_the_command_of_an_evaluation_names_its_model_first() -> None:
    command = commands.of_request(page(), EVALUATION).command

    assert command == "trainshed evaluate champion --threshold 0.0 --name again"


@pytest.mark.parametrize("job", [*JOBS, EVALUATION])
def test_python_sends_the_request(job: JobCreate, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    monkeypatch.setattr(trainshed, "Client", lambda: api.connect("", api_key=None))

    exec(commands.of_request(page(), job).python, {"print": lambda _: None})

    [sent, *_] = [json.loads(request.content) for request in api.requests if request.method == "POST"]
    assert {"spec": {}, **body(job)} == {"spec": {}, **sent}


SWEEPS: list[SweepCreate] = [
    GridSweepCreate(strategy="grid", parameters={"learning_rate": (0.001, 0.01), "model": ("cnn", "dense")}),
    RandomSweepCreate(
        strategy="random",
        count=5,
        parameters={"learning_rate": Range(min=1e-4, max=0.1, log=True), "batch_size": (32, 64)},
        spec=TrainRequest(epochs=2),
        name="it's random",
        tags=("a",),
    ),
]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_each_command_of_a_sweep_sends_its_request(
    sweep: SweepCreate, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {"strategy": sweep.strategy, **sweep.model_dump(mode="json", exclude_defaults=True)}
    shown = commands.of_sweep(page(), sweep)
    curl = shlex.split(shown.curl)
    assert curl[:2] == ["curl", "http://127.0.0.1:8000/v1/sweeps"]
    assert json.loads(curl[curl.index("-d") + 1]) == expected

    cli = CommandLine(FakeApi())
    cli.run(*shlex.split(shown.command)[1:])
    assert _sweep(cli.sent()) == sweep

    api = FakeApi()
    monkeypatch.setattr(trainshed, "Client", lambda: api.connect("", api_key=None))
    with suppress(trainshed.TrainshedApiError):  # the fake API has no sweeps: the request is what counts
        exec(shown.python, {"print": lambda _: None})
    [sent] = [json.loads(request.content) for request in api.requests if request.method == "POST"]
    assert _sweep(sent) == sweep


def _sweep(body: dict[str, Any]) -> SweepCreate:
    return TypeAdapter[SweepCreate](SweepCreate).validate_python(body)


def test_a_sweep_for_which_the_command_line_lacks_an_option_has_no_command_of_it() -> None:
    spec = TrainRequest(threshold=0.5)
    sweep = GridSweepCreate(strategy="grid", parameters={"epochs": (1, 2)}, spec=spec)
    shown = commands.of_sweep(page(), sweep)
    assert shown.command == ""
    assert "threshold" in shown.curl


def test_elsewhere_the_address_is_named() -> None:
    shown = commands.of_request(page("https://host.example/"), TrainJobCreate())

    assert shown.command == "trainshed train --url https://host.example"
    assert "Client('https://host.example')" in shown.python


def test_a_key_is_taken_from_the_environment_and_never_shown() -> None:
    shown = commands.of_request(page(caller=Caller("me", Scope.SUBMIT)), TrainJobCreate())

    assert '-H "Authorization: Bearer $TRAINSHED_API_KEY"' in shown.curl
    assert "Authorization" not in commands.of_request(page(), TrainJobCreate()).curl
