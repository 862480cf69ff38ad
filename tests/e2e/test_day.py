"""A client's day with the real trainer: submit, watch, compare, evaluate again, predict, clean up."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import onnxruntime
import pytest
from typer.testing import CliRunner

from shared.settings import Settings
from tests.e2e.day import EPOCHS, METRICS, draw, spend_a_day
from tests.support.paths import ROOT
from tests.support.round_robin import RoundRobin
from tests.support.servers import NO_TLS
from tests.support.waiting import wait_until
from trainshed import Client
from trainshed.cli.main import app
from trainshed.local import ports
from trainshed.local.processes import environment
from trainshed.local.stack import LocalStack

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a running stack; at the end of a day there is nothing on it."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("day"), port=ports.find_free("127.0.0.1"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(ROOT))
        with LocalStack(settings):
            yield settings


@pytest.fixture(scope="module")
def drawing() -> bytes:
    return draw()


def test_a_day_with_the_python_client(stack: Settings, drawing: bytes) -> None:
    with Client(f"http://127.0.0.1:{stack.port}") as server:
        spend_a_day(server, drawing)


def test_a_day_with_two_api_processes_that_take_turns(stack: Settings, drawing: bytes) -> None:
    second = stack.model_copy(update={"port": ports.find_free("127.0.0.1")})
    command = [sys.executable, "-m", "trainshed.cli.main", "api"]
    with subprocess.Popen(command, env={**environment(second), "PYTHONPATH": str(ROOT)}) as process:
        try:
            urls = [f"http://127.0.0.1:{settings.port}" for settings in (stack, second)]
            wait_until(lambda: responds(urls[1]), "the second API responds", timeout=30)
            turns = RoundRobin(urls)
            with Client(urls[0], transport=turns) as server:
                spend_a_day(server, drawing)
            assert min(turns.sent) > 10
        finally:
            process.terminate()


def responds(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", verify=NO_TLS).is_success
    except httpx.TransportError:
        return False


def test_a_day_with_the_command_line(stack: Settings, drawing: bytes, tmp_path: Path) -> None:
    image, file = tmp_path / "drawn.png", tmp_path / "model.onnx"
    image.write_bytes(drawing)

    def program(*arguments: object, code: int = 0) -> Any:
        """Run one command as a program, and return its JSON output, or its error."""
        command = [sys.executable, "-m", "trainshed.cli.main", *map(str, arguments), "--json"]
        ended = subprocess.run(command, env=environment(stack), capture_output=True, text=True, timeout=90)
        assert ended.returncode == code, ended.stderr
        return json.loads(ended.stdout) if ended.stdout else ended.stderr

    def trainshed(*arguments: object, code: int = 0) -> Any:
        """Do the same in this process: a program takes half a second of CPU to start."""
        ended = CliRunner().invoke(app, [*map(str, arguments), "--json"], env=environment(stack))
        assert ended.exit_code == code, ended.stderr
        return json.loads(ended.stdout) if ended.stdout else ended.stderr

    training = ("--dataset", "digits", "--epochs", EPOCHS, "--batch-size", 64, "--seed", 1, "--tag", "day")
    first = program("train", *training, "--name", "first", "--detach")
    assert program("watch", first["id"])["state"] == "succeeded"
    assert trainshed("events", "last")[-1]["type"] == "succeeded"
    [metrics] = trainshed("metrics", "last")
    lengths = {metric["name"]: len(metric["y"]) for metric in metrics["series"]}
    assert lengths == dict.fromkeys(METRICS, EPOCHS)

    second = trainshed("clone", first["id"], "--set", "learning_rate=0.01", "--name", "second")
    compared = trainshed("compare", first["id"], second["id"])
    assert compared["differing"] == {"learning_rate": [0.001, 0.01]}
    best, *_ = trainshed("jobs", "--tag", "day", "--sort=-evaluation_accuracy")
    assert best["values"]["evaluation_accuracy"] == max(
        evaluation["accuracy"] for evaluation in compared["evaluations"]
    )

    assert trainshed("model", best["id"], "--alias", "champion")["job_id"] == best["id"]
    again = trainshed("evaluate", "champion", "--threshold", 0.9, "--tag", "day")
    assert (again["state"], again["evaluation"]["threshold"]) == ("succeeded", 0.9)
    assert again["evaluation"]["accuracy"] <= best["values"]["evaluation_accuracy"]

    [prediction] = trainshed("predict", image, "--model", "champion")["data"]
    assert len(prediction["probabilities"]) == 10
    trainshed("model", "champion", "--download", "onnx", "--output", file)
    assert onnxruntime.InferenceSession(file.read_bytes()).get_inputs()

    everything = [again["id"], first["id"], second["id"]]
    assert "`champion`: give the alias to another model" in program("delete", best["id"], "--yes", code=2)
    trainshed("model", "champion", "--alias", "")
    assert trainshed("delete", *everything, "--yes") == {"deleted": everything, "failed": []}
    assert (trainshed("jobs"), trainshed("models")) == ([], [])
    assert "there is no job" in trainshed("show", first["id"], code=2)
    assert trainshed("status")["jobs"]["total"] == 0
