"""A client's day with the real trainer: submit, watch, compare, evaluate again, predict, clean up."""

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from typer.testing import CliRunner

from shared.datasets import catalog
from shared.lifecycle import EventType, JobState
from shared.schemas import (
    BatchAction,
    EvaluateJobCreate,
    EvaluateRequest,
    JobOrder,
    MetricName,
    ModelFormat,
    TrainJobCreate,
    TrainRequest,
)
from shared.settings import Settings
from tests.support.paths import ROOT
from trainshed import Client, TrainshedApiError
from trainshed.cli.main import app
from trainshed.local import ports
from trainshed.local.processes import environment
from trainshed.local.stack import LocalStack

EPOCHS = 3

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
def drawing(stack: Settings) -> bytes:
    """A test image of a digit as people draw it: black on white, ten times as large."""
    image = catalog.load("digits", stack).test_images[0].reshape(28, 28)
    file = BytesIO()
    Image.fromarray(255 - image).resize((280, 280), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def test_a_day_with_the_python_client(stack: Settings, drawing: bytes) -> None:
    with Client(f"http://127.0.0.1:{stack.port}") as server:
        # submit, and once more, as a client does that lost the response
        spec = TrainRequest(dataset="digits", epochs=EPOCHS, batch_size=64, seed=1)
        request = TrainJobCreate(spec=spec, name="first", tags=("day",))
        first = server.submit(request, idempotency_key="monday")
        assert server.submit(request, idempotency_key="monday").id == first.id

        # watch
        events = list(server.stream(first.id))
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert (events[0].type, events[-1].type) == (EventType.SUBMITTED, EventType.SUCCEEDED)
        metrics = {metric.name: len(metric.y) for metric in server.metrics(first.id).series}
        assert metrics == dict.fromkeys(MetricName, EPOCHS)

        # clone, and compare
        copy = server.clone(first.id, learning_rate=0.01, name="second")
        second = server.wait(copy, timeout_s=60)
        compared = server.compare(first, second)
        assert compared.differing == {"learning_rate": (0.001, 0.01)}
        accuracies = [evaluation.accuracy for evaluation in compared.evaluations if evaluation]
        best = server.job((first.id, second.id)[accuracies.index(max(accuracies))])
        assert best.model_id is not None
        assert next(server.jobs(tag="day", sort=JobOrder.BEST_EVALUATION)).id == best.id

        # evaluate the better model again, with a threshold
        server.change_model(best.model_id, alias="champion")
        strict = EvaluateRequest(model_id="champion", threshold=0.9)
        again = server.submit(EvaluateJobCreate(kind="evaluate", spec=strict, tags=("day",)))
        assert server.wait(again.id, timeout_s=60).state is JobState.SUCCEEDED
        loose, measured = server.evaluation(best.id), server.evaluation(again.id)
        assert (measured.size, measured.threshold) == (loose.size, 0.9)
        assert measured.accuracy <= loose.accuracy == max(accuracies)
        assert sum(map(sum, measured.confusion_matrix)) == measured.size - measured.rejected

        # predict, and compare with the downloaded file
        [prediction] = server.predict(drawing, "champion").data
        onnx = onnxruntime.InferenceSession(server.download("champion", ModelFormat.ONNX))
        [name] = [node.name for node in onnx.get_inputs()]
        pixels = (
            np.asarray(Image.open(BytesIO(b64decode(prediction.input.partition(",")[2]))), np.float32) / 255
        )
        [probabilities] = onnx.run(None, {name: pixels.reshape(1, 28, 28, 1)})
        assert np.abs(probabilities[0] - prediction.probabilities).max() < 1e-5

        # clean up
        refused, *_ = server.batch(BatchAction.DELETE, [best.id])
        assert (refused.status, refused.problem and refused.problem.title) == (409, "The model is in use")
        server.change_model("champion", alias=None)
        ids = [again.id, first.id, second.id]
        assert [result.status for result in server.batch(BatchAction.DELETE, ids)] == [204, 204, 204]
        assert (server.counts().total, list(server.models())) == (0, [])
        with pytest.raises(TrainshedApiError, match="there is no job"):
            server.job(first.id)


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
    assert lengths == dict.fromkeys(MetricName, EPOCHS)

    second = trainshed("clone", first["id"], "--set", "learning_rate=0.01", "--name", "second")
    compared = trainshed("compare", first["id"], second["id"])
    assert compared["differing"] == {"learning_rate": [0.001, 0.01]}
    best, *_ = trainshed("jobs", "--tag", "day", "--sort=-evaluation_accuracy")
    assert best["evaluation_accuracy"] == max(
        evaluation["accuracy"] for evaluation in compared["evaluations"]
    )

    assert trainshed("model", best["id"], "--alias", "champion")["job_id"] == best["id"]
    again = trainshed("evaluate", "champion", "--threshold", 0.9, "--tag", "day")
    assert (again["state"], again["evaluation"]["threshold"]) == ("succeeded", 0.9)
    assert again["evaluation"]["accuracy"] <= best["evaluation_accuracy"]

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
