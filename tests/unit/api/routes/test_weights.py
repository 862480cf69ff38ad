"""Weights after the epochs of a job over HTTP."""

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories, queue_driver
from tests.support.queue_driver import AttemptId

UNKNOWN = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


@pytest.fixture
def attempt(database: Database) -> AttemptId:
    """An attempt at a job that keeps weights, after two epochs."""
    attempt = queue_driver.running(database, spec=factories.make_spec(keep_weights=True))
    queue_driver.record(database, attempt, 2, keep_weights=True)
    return attempt


def test_the_list_says_what_the_bytes_are(client: httpx.Client, attempt: AttemptId) -> None:
    body = client.get(f"/v1/jobs/{attempt.job_id}/weights").json()

    assert body["epochs"] == [0, 1]
    assert (body["keep_weights"], body["model"], body["size"]) == (True, "cnn", 23_976)
    assert body["arrays"][0] == {"name": "conv1/kernel", "shape": [5, 5, 1, 8], "offset": 0}


def test_weights_after_an_epoch_are_bytes(client: httpx.Client, attempt: AttemptId) -> None:
    answer = client.get(f"/v1/jobs/{attempt.job_id}/weights/1")

    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.content == factories.make_epoch_weights(1)


def test_unchanged_weights_are_not_sent_again(client: httpx.Client, attempt: AttemptId) -> None:
    path = f"/v1/jobs/{attempt.job_id}/weights/0"

    answer = client.get(path, headers={"If-None-Match": client.get(path).headers["ETag"]})

    assert (answer.status_code, answer.content) == (304, b"")


def test_weights_may_be_kept_without_asking_again_once_the_job_has_finished(
    client: httpx.Client, database: Database, attempt: AttemptId
) -> None:
    path = f"/v1/jobs/{attempt.job_id}/weights/0"
    before = client.get(path).headers["Cache-Control"]
    queue_driver.succeed(database, attempt, factories.make_model())

    after = client.get(path).headers["Cache-Control"]

    assert (before, after) == ("private, no-cache", "private, max-age=31536000, immutable")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("{job_id}/weights/7", "weights-not-found"),
        (f"{UNKNOWN}/weights/0", "job-not-found"),
        (f"{UNKNOWN}/weights", "job-not-found"),
    ],
)
def test_what_is_not_there_is_not_found(
    client: httpx.Client, attempt: AttemptId, path: str, problem: str
) -> None:
    answer = client.get(f"/v1/jobs/{path.format(job_id=attempt.job_id)}")

    assert (answer.status_code, answer.json()["type"]) == (404, f"/problems/{problem}")


@pytest.mark.parametrize("epoch", ["-1", "1000", "last"])
def test_an_epoch_that_no_job_has_is_refused(client: httpx.Client, attempt: AttemptId, epoch: str) -> None:
    answer = client.get(f"/v1/jobs/{attempt.job_id}/weights/{epoch}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "epoch"


def test_a_job_that_would_keep_too_much_is_refused_with_the_field(client: httpx.Client) -> None:
    spec = {"dataset": "digits", "model": "dense", "epochs": 300, "keep_weights": True}

    answer = client.post("/v1/jobs", json={"kind": "train", "spec": spec})

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-spec")
    assert answer.json()["errors"][0]["pointer"] == "/spec/keep_weights"
