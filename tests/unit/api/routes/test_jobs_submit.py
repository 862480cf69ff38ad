"""Jobs are submitted: what is accepted, completed and refused, and what a repeated request returns."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared.db.engine import Database
from shared.schemas import Scope
from tests.support import factories, queue_driver, registry


def _submit(client: httpx.Client, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/v1/jobs", json={"kind": "train", **body}, headers=headers)


def test_a_submitted_job_is_accepted_and_can_be_polled(client: httpx.Client) -> None:
    answer = _submit(client, name="first", tags=["a", "b", "a"], spec={"seed": 7})

    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["ETag"] == '"1"'  # a poll's ETag also has the position and why the job waits
    job = answer.json()
    assert (job["state"], job["name"], job["tags"], job["spec"]["seed"]) == ("queued", "first", ["a", "b"], 7)
    polled = client.get(answer.headers["Location"]).json()
    waits = {"queue_position": 1, "waiting_for": "no_worker_online", "starts_in_s": None}
    turn = {"tenant_queued": 1, "tenant_running": 0, "submitted_by": None}
    assert polled == {**job, "attempts": [], **waits, **turn}


def test_a_submit_is_answered_alike_whichever_way_it_takes(client: httpx.Client) -> None:
    # FastAPI's way has every media type but the plain one
    body = '{"kind": "train", "name": "ä", "tags": ["a"], "spec": {"seed": 7, "epochs": 3.0}}'
    answers = [
        client.post("/v1/jobs", content=body, headers={"Content-Type": media_type, "Idempotency-Key": key})
        for media_type, key in (("application/json", "1"), ("application/json; charset=utf-8", "2"))
    ]

    direct, fastapis = ({**answer.json(), "id": ""} for answer in answers)
    moments = ("created_at", "scheduled_at")
    assert {**direct, **dict.fromkeys(moments)} == {**fastapis, **dict.fromkeys(moments)}
    changing = {"location", "x-request-id", "date"}
    headers = [
        {name: answer.headers[name] for name in answer.headers if name not in changing} for answer in answers
    ]
    assert (answers[0].status_code, headers[0]) == (answers[1].status_code, headers[1])
    for answer, key in zip(answers, "12", strict=True):
        again = _submit(client, key, name="ä", tags=["a"], spec={"seed": 7, "epochs": 3})
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.content == answer.content


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "ä"])
def test_an_invalid_idempotency_key_is_refused(client: httpx.Client, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]

    answer = client.post("/v1/jobs", json={"kind": "train"}, headers=headers)

    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "Idempotency-Key")


def test_an_empty_spec_is_the_codelabs_job(client: httpx.Client) -> None:
    spec = _submit(client).json()["spec"]

    assert 0 <= spec.pop("seed") < 2**31
    assert spec == {
        "dataset": "mnist",
        "model": "cnn",
        "train_size": 5500,
        "validation_size": 1000,
        "evaluation_size": 500,
        "epochs": 10,
        "batch_size": 512,
        "learning_rate": 0.001,
        "optimizer": "adam",
        "threshold": None,
        "keep_weights": False,
    }


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"train_size": 55_001}, "train_size", "the dataset has 55,000 training images: request fewer"),
        ({"validation_size": 10_001}, "validation_size", "10,000 test images"),
        ({"evaluation_size": 10_001}, "evaluation_size", "10,000 test images"),
        ({"dataset": "digits", "train_size": 1_401}, "train_size", "1,400 training images"),
        (
            {"dataset": "cifar"},
            "dataset",
            "there is no dataset 'cifar'; the configured ones are: mnist, digits",
        ),
    ],
)
def test_spec_that_exceeds_the_dataset_is_refused(
    client: httpx.Client, spec: dict[str, Any], field: str, words: str
) -> None:
    answer = _submit(client, spec=spec)

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-spec"
    assert answer.json()["errors"][0]["pointer"] == f"/spec/{field}"
    assert words in answer.json()["detail"]


def test_an_evaluation_of_an_unknown_model_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/jobs", json={"kind": "evaluate", "spec": {"model_id": str(uuid4())}})

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/model-not-found"


def test_evaluation_job_takes_its_defaults_from_the_model(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)

    answer = client.post(
        "/v1/jobs", json={"kind": "evaluate", "spec": {"model_id": str(model.id), "threshold": 0.5}}
    )

    assert answer.status_code == 202
    assert answer.json()["model_id"] == str(model.id)
    assert answer.json()["spec"] == {
        "model_id": str(model.id),
        "evaluation_size": factories.make_spec().evaluation_size,
        "seed": factories.make_spec().seed,
        "threshold": 0.5,
    }


def test_an_evaluation_whose_dataset_is_no_longer_configured_is_refused(
    client: httpx.Client, database: Database
) -> None:
    attempt = queue_driver.running(database)
    model = factories.make_model(spec=factories.make_spec(dataset="gone"))
    queue_driver.succeed(database, attempt, model)

    answer = client.post("/v1/jobs", json={"kind": "evaluate", "spec": {"model_id": str(model.id)}})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/spec/model_id"


def test_repeated_request_returns_the_same_job(client: httpx.Client) -> None:
    first, second = (_submit(client, "key-1", name="once") for _ in range(2))

    assert second.status_code == 202
    assert second.json() == first.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_repeated_request_may_be_formatted_differently(client: httpx.Client) -> None:
    first = _submit(client, "key-1", spec={"epochs": 5, "seed": None})
    second = _submit(client, "key-1", name=None, spec={"epochs": 5.0, "batch_size": 512})

    assert second.json()["id"] == first.json()["id"]


def _with_new_key(database: Database) -> dict[str, str]:
    """Headers with a new API key that may submit."""
    key = registry.api_key(database, "Ada", Scope.SUBMIT)
    return {"Authorization": f"Bearer {key}", "Idempotency-Key": "monday-1"}


def test_two_callers_with_the_same_key_and_request_have_two_jobs(
    client: httpx.Client, database: Database
) -> None:
    callers = [_with_new_key(database) for _ in range(2)]
    first = [client.post("/v1/jobs", json={"kind": "train"}, headers=headers) for headers in callers]
    again = [client.post("/v1/jobs", json={"kind": "train"}, headers=headers) for headers in callers]

    assert [answer.headers.get("Idempotency-Replayed") for answer in first] == [None, None]
    assert [answer.headers.get("Idempotency-Replayed") for answer in again] == ["true", "true"]
    ids = [[answer.json()["id"] for answer in answers] for answers in (first, again)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
    other = client.post("/v1/jobs", json={"kind": "train", "name": "x"}, headers=callers[0])
    assert other.json()["type"] == "/problems/idempotency-key-reused"


def test_a_request_whose_job_was_deleted_is_not_carried_out_again(client: httpx.Client) -> None:
    job_id = _submit(client, "key-1").json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204

    answer = _submit(client, "key-1")

    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/submission-deleted")
    assert "was deleted: send a new key" in answer.json()["detail"]
    assert client.get("/v1/jobs").json()["data"] == []
    assert _submit(client, "key-2").status_code == 202


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_repeated_request_finds_its_job_although_its_predecessor_was_cancelled(
    client: httpx.Client, is_deleted: bool
) -> None:
    first = _submit(client).json()["id"]
    second = _submit(client, "key-1", after=[first])
    client.post(f"/v1/jobs/{first}/cancel")
    if is_deleted:
        assert client.delete(f"/v1/jobs/{first}").status_code == 204

    again = _submit(client, "key-1", after=[first])

    assert (again.status_code, again.json()["id"]) == (202, second.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"


def test_key_of_a_different_request_is_refused(client: httpx.Client) -> None:
    _submit(client, "key-1", name="one")

    answer = _submit(client, "key-1", name="another")

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/idempotency-key-reused"
    assert "send a new key" in answer.json()["detail"]


@pytest.mark.parametrize("key", ["x" * 256, "two words"])
def test_invalid_key_is_refused(client: httpx.Client, key: str) -> None:
    answer = _submit(client, key)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "Idempotency-Key"


def test_requests_without_a_key_are_different_jobs(client: httpx.Client) -> None:
    assert _submit(client).json()["id"] != _submit(client).json()["id"]


def test_a_job_may_be_scheduled_for_later(client: httpx.Client, database: Database) -> None:
    registry.worker(database)
    request = {"kind": "train", "spec": {"dataset": "digits"}, "scheduled_at": "2126-01-02T03:04:05+01:00"}
    submitted = client.post("/v1/jobs", json=request).json()
    assert submitted["scheduled_at"] == "2126-01-02T02:04:05Z"
    job = client.get(f"/v1/jobs/{submitted['id']}").json()
    assert (job["scheduled_at"], job["waiting_for"]) == ("2126-01-02T02:04:05Z", "scheduled")


def test_a_copy_of_a_scheduled_job_may_start_at_once(client: httpx.Client) -> None:
    request = {"kind": "train", "spec": {"dataset": "digits"}, "scheduled_at": "2126-01-02T03:04:05Z"}
    job_id = client.post("/v1/jobs", json=request).json()["id"]
    copy = client.post(f"/v1/jobs/{job_id}/clone", json={}).json()
    assert copy["scheduled_at"] == copy["created_at"]


@pytest.mark.parametrize("time", ["2126-01-02T03:04:05", "4922996645", 4_922_996_645, 0, 1.5, True])
def test_a_time_that_is_not_one_of_rfc_3339_is_refused(client: httpx.Client, time: object) -> None:
    request = {"kind": "train", "spec": {}, "scheduled_at": time}
    assert client.post("/v1/jobs", json=request).json()["errors"][0]["pointer"] == "/scheduled_at"


def test_an_evaluation_may_be_submitted_before_its_training_has_ended(client: httpx.Client) -> None:
    trained = client.post("/v1/jobs", json={"kind": "train", "spec": {"dataset": "digits", "seed": 7}}).json()
    request = {"kind": "evaluate", "spec": {"model_id": trained["id"]}, "after": [trained["id"]]}
    evaluation = client.post("/v1/jobs", json=request)
    assert evaluation.status_code == 202
    assert evaluation.json()["spec"] == {
        "model_id": trained["id"],
        "evaluation_size": trained["spec"]["evaluation_size"],
        "seed": 7,
        "threshold": None,
    }
    assert client.get(f"/v1/jobs/{evaluation.json()['id']}").json()["waiting_for"] == "predecessors"


def test_a_job_after_one_that_has_failed_is_refused(client: httpx.Client, database: Database) -> None:
    request = {"kind": "train", "spec": {"dataset": "digits"}, "after": [str(queue_driver.failed(database))]}
    refused = client.post("/v1/jobs", json=request)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/predecessor-failed")
