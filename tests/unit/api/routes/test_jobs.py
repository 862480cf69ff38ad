"""Jobs over HTTP: submit, read, poll, cancel, retry."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from tests.support import factories
from tests.support.waiting import wait_until

UNKNOWN = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


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
    waits = {"queue_position": 1, "waiting_for": "no_worker_online"}
    assert polled == {**job, "attempts": [], **waits}


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
    answer = client.post("/v1/jobs", json={"kind": "evaluate", "spec": {"model_id": UNKNOWN}})

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/model-not-found"


def test_evaluation_job_takes_its_defaults_from_the_model(client: httpx.Client, database: Database) -> None:
    _, model = factories.succeeded(database)

    answer = client.post(
        "/v1/jobs", json={"kind": "evaluate", "spec": {"model_id": str(model.id), "threshold": 0.5}}
    )

    assert answer.status_code == 202
    assert answer.json()["model_id"] == str(model.id)
    assert answer.json()["spec"] == {
        "model_id": str(model.id),
        "evaluation_size": model.spec.evaluation_size,
        "seed": model.spec.seed,
        "threshold": 0.5,
    }


def test_an_evaluation_whose_dataset_is_no_longer_configured_is_refused(
    client: httpx.Client, database: Database
) -> None:
    attempt = factories.running(database)
    model = factories.make_model(spec=factories.make_spec(dataset="gone"))
    factories.succeed(database, attempt, model)

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


def test_a_running_job_shows_its_attempt_and_progress(client: httpx.Client, database: Database) -> None:
    attempt = factories.running(database)
    factories.record(database, attempt, 2)

    answer = client.get(f"/v1/jobs/{attempt.job_id}")

    job = answer.json()
    assert answer.headers["Retry-After"] == "1"
    assert job["state"] == "running"
    assert job["progress"] == {
        "epoch": 2,
        "epochs": 3,
        "step": 4,
        "steps": 6,
        "percent": pytest.approx(66.7, 0.01),
        "eta_s": factories.make_epoch().seconds,
    }
    assert job["metrics"]["loss"] == factories.make_epoch(1).loss
    assert [attempt["worker"] for attempt in job["attempts"]] == ["worker-1"]


def test_unchanged_job_is_not_sent_again(client: httpx.Client, database: Database) -> None:
    job_id = factories.submitted(database)
    tag = client.get(f"/v1/jobs/{job_id}").headers["ETag"]

    answer = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == tag
    assert answer.headers["Retry-After"] == "1"


def test_changed_job_is_sent_again(client: httpx.Client, database: Database) -> None:
    job_id = factories.submitted(database)
    tag = client.get(f"/v1/jobs/{job_id}").headers["ETag"]
    factories.claimed(database, job_id)

    def changed() -> httpx.Response | None:  # by another process: it is noticed within a quarter of a second
        answer = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})
        return answer if answer.status_code == 200 else None

    assert wait_until(changed, "the change is seen").headers["ETag"] != tag


def test_a_finished_job_need_not_be_polled(client: httpx.Client, database: Database) -> None:
    answer = client.get(f"/v1/jobs/{factories.failed(database)}")

    assert "Retry-After" not in answer.headers
    assert answer.json()["error"] == {"code": "internal", "message": "it broke"}


def test_a_queued_job_is_cancelled_at_once(client: httpx.Client, database: Database) -> None:
    answer = client.post(f"/v1/jobs/{factories.submitted(database)}/cancel")

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_running_job_is_told_to_stop(client: httpx.Client, database: Database) -> None:
    job_id = factories.running(database).job_id

    first, second = (client.post(f"/v1/jobs/{job_id}/cancel") for _ in range(2))

    assert (first.status_code, first.json()["state"]) == (202, "running")
    assert first.json()["cancel_requested_at"] is not None
    assert second.status_code == 202
    assert second.json() == first.json()


def test_a_cancelled_job_stays_cancelled(client: httpx.Client, database: Database) -> None:
    assert client.post(f"/v1/jobs/{factories.cancelled(database)}/cancel").status_code == 200


def test_a_finished_job_cannot_be_cancelled(client: httpx.Client, database: Database) -> None:
    answer = client.post(f"/v1/jobs/{factories.failed(database)}/cancel")

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/job-already-finished"


def test_a_retry_is_a_new_job_with_the_same_spec(client: httpx.Client, database: Database) -> None:
    job_id = factories.succeeded(
        database, name="first", tags=("a",), queue="gpu", priority="high", max_attempts=5, max_runtime_s=60.0
    )[0]
    old = client.get(f"/v1/jobs/{job_id}").json()

    answer = client.post(f"/v1/jobs/{job_id}/retry")

    new = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{new['id']}"
    assert new["id"] != old["id"]
    assert (new["state"], new["retry_of"], new["attempt"], new["model_id"]) == ("queued", old["id"], 0, None)
    kept = ("kind", "spec", "name", "tags", "queue", "priority", "max_attempts", "max_runtime_s")
    assert {name: new[name] for name in kept} == {name: old[name] for name in kept}


def test_retried_evaluation_job_evaluates_the_same_model(client: httpx.Client, database: Database) -> None:
    _, model = factories.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    job_id = factories.cancelled(database, kind="evaluate", spec=spec, model_id=model.id)

    assert client.post(f"/v1/jobs/{job_id}/retry").json()["model_id"] == str(model.id)


def test_repeated_retry_returns_the_same_job(client: httpx.Client, database: Database) -> None:
    job_id = factories.failed(database)

    first, second = (
        client.post(f"/v1/jobs/{job_id}/retry", headers={"Idempotency-Key": "again"}) for _ in range(2)
    )

    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"


def test_an_unfinished_job_cannot_be_retried(client: httpx.Client, database: Database) -> None:
    for job_id in (factories.submitted(database), factories.running(database).job_id):
        answer = client.post(f"/v1/jobs/{job_id}/retry")
        assert answer.status_code == 409
        assert "wait until it has finished, or cancel it first" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["", "/metrics", "/evaluation", "/cancel", "/retry"])
@pytest.mark.parametrize("job_id", [UNKNOWN, uuid4(), uuid7()], ids=["literal", "v4", "v7"])
def test_an_unknown_job_is_not_found(client: httpx.Client, path: str, job_id: object) -> None:
    method = "POST" if path in ("/cancel", "/retry") else "GET"

    answer = client.request(method, f"/v1/jobs/{job_id}{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/job-not-found"


@pytest.mark.parametrize("path", ["", "/metrics", "/evaluation"])
def test_a_malformed_job_id_is_a_problem(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/jobs/42{path}")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["instance"] == f"/v1/jobs/42{path}"


def test_finished_jobs_are_counted_by_minute(client: httpx.Client, database: Database) -> None:
    factories.one_of_each_state(database)

    data = client.get("/v1/jobs/throughput").json()["data"]

    assert len(data) == 60
    assert data == sorted(data, key=lambda minute: minute["at"])
    states = ("succeeded", "failed", "cancelled")
    assert {state: sum(minute[state] for minute in data) for state in states} == dict.fromkeys(states, 1)


@pytest.mark.parametrize("minutes", [0, 1_441, "all"])
def test_minutes_that_cannot_be_counted_are_refused(client: httpx.Client, minutes: object) -> None:
    answer = client.get("/v1/jobs/throughput", params={"minutes": str(minutes)})

    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "minutes")
