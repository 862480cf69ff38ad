"""What a client does in a day, by the Python client: on a stack of this host, and on containers."""

from base64 import b64decode
from io import BytesIO
from uuid import uuid4

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from shared.datasets import digits
from shared.lifecycle import EventType, JobState
from shared.schemas import (
    BatchAction,
    EvaluateJobCreate,
    EvaluateRequest,
    TrainJobCreate,
    TrainRequest,
)
from trainshed import Client, TrainshedApiError

EPOCHS = 3
METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


def draw() -> bytes:
    """Return an image of a digit as people draw it: black on white, ten times as large."""
    images, _ = digits.decode()
    file = BytesIO()
    drawn = Image.fromarray(255 - images[digits.TRAIN_ROWS].reshape(28, 28))
    drawn.resize((280, 280), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def spend_a_day(server: Client, drawing: bytes) -> None:
    """Submit, watch, compare, evaluate again, predict, clean up; at the end the server has nothing."""
    # submit, and once more, as a client does that lost the response
    spec = TrainRequest(dataset="digits", epochs=EPOCHS, batch_size=64, seed=1)
    request = TrainJobCreate(spec=spec, name="first", tags=("day",))
    key = str(uuid4())
    first = server.submit(request, idempotency_key=key)
    assert server.submit(request, idempotency_key=key).id == first.id

    # watch
    events = list(server.stream(first.id))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (events[0].type, events[-1].type) == (EventType.SUBMITTED, EventType.SUCCEEDED)
    metrics = {metric.name: len(metric.y) for metric in server.metrics(first.id).series}
    assert metrics == dict.fromkeys(METRICS, EPOCHS)

    # clone, and compare
    copy = server.clone(first.id, learning_rate=0.01, name="second")
    second = server.wait(copy, timeout_s=120)
    compared = server.compare(first, second)
    assert compared.differing == {"learning_rate": (0.001, 0.01)}
    accuracies = [evaluation.accuracy or 0.0 for evaluation in compared.evaluations if evaluation]
    best = server.job((first.id, second.id)[accuracies.index(max(accuracies))])
    assert best.model_id is not None
    assert next(server.jobs(tag="day", sort="-evaluation_accuracy")).id == best.id

    # evaluate the better model again, with a threshold
    server.change_model(best.model_id, alias="champion")
    strict = EvaluateRequest(model_id="champion", threshold=0.9)
    again = server.submit(EvaluateJobCreate(kind="evaluate", spec=strict, tags=("day",)))
    assert server.wait(again.id, timeout_s=120).state is JobState.SUCCEEDED
    loose, measured = server.evaluation(best.id), server.evaluation(again.id)
    assert (measured.size, measured.threshold) == (loose.size, 0.9)
    assert measured.accuracy is not None
    assert measured.accuracy <= max(accuracies)
    assert loose.accuracy == max(accuracies)
    assert measured.size == measured.rejected + sum(map(sum, measured.confusion_matrix or ()))

    # predict, and compare with the downloaded file
    [prediction] = server.predict(drawing, "champion").data
    onnx = onnxruntime.InferenceSession(server.download("champion", "onnx"))
    [name] = [node.name for node in onnx.get_inputs()]
    pixels = np.asarray(Image.open(BytesIO(b64decode(prediction.input.partition(",")[2]))), np.float32) / 255
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
