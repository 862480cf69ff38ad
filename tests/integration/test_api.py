"""The API over HTTP, on each database, with a real Redis; the store's functions simulate workers."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from shared.datasets import catalog
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import factories, queue_driver
from tests.support.databases import migrate
from tests.support.ports import closed_port, silent_port
from tests.support.servers import RedisServer, running_app, running_postgres
from tests.support.waiting import wait_until

RESPONSE_S = 3.0  # the limit for a submit, in whatever state the broker is


def _messages(redis: RedisServer, queue: str = "default") -> int:
    """The number of messages that wait for the workers of a queue."""
    with redis.client() as client:
        return int(str(client.llen(queue)))


def _submit(api: httpx.Client, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return api.post("/v1/jobs", json={"kind": "train", **body}, headers=headers)


def test_a_submitted_job_wakes_up_a_worker_of_its_queue(api: httpx.Client, redis: RedisServer) -> None:
    _submit(api, queue="gpu", priority="high")

    # after the response
    wait_until(lambda: _messages(redis, "gpu") == 1, "a message is sent")


def test_concurrent_requests_with_one_idempotency_key_create_one_job(
    api: httpx.Client, redis: RedisServer
) -> None:
    with ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(lambda _: _submit(api, "key"), range(16)))

    assert {response.status_code for response in responses} == {202}
    assert len({response.json()["id"] for response in responses}) == 1
    assert sum("Idempotency-Replayed" not in response.headers for response in responses) == 1
    wait_until(lambda: _messages(redis) == 1, "a message is sent")


def test_each_state_of_a_job_is_returned_from_submit_to_result(
    api: httpx.Client, publishing_database: Database
) -> None:
    database = publishing_database
    job = _submit(api, spec={"epochs": 3, "train_size": 100, "batch_size": 50, "seed": 1}).json()
    path, tags = f"/v1/jobs/{job['id']}", set()

    def get_job(version: int) -> dict[str, Any]:
        wait_until(lambda: api.get(path).json()["version"] == version, f"version {version} is returned")
        response = api.get(path)
        tags.add(response.headers["ETag"])
        assert api.get(path, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
        job: dict[str, Any] = response.json()
        return job

    assert get_job(1)["state"] == "queued"
    attempt = queue_driver.claim(database, UUID(job["id"])).attempt
    assert get_job(2)["state"] == "running"
    queue_driver.record(database, attempt, 3)
    assert get_job(5)["progress"]["percent"] == 100
    model = factories.make_model()
    queue_driver.succeed(database, attempt, model)
    done = get_job(6)

    assert (done["state"], done["model_id"], done["values"]["evaluation_accuracy"]) == (
        "succeeded",
        str(model.id),
        0.98,
    )
    assert done["attempts"][0]["outcome"] == "succeeded"
    assert len(tags) == 4
    series = api.get(f"{path}/metrics", params={"resolution": "step"}).json()["series"]
    assert [len(metric["y"]) for metric in series] == [6, 6]
    evaluation = api.get(f"{path}/evaluation").json()
    assert evaluation["confusion_matrix"] == [
        list(row) for row in factories.as_shown(model.evaluation).confusion_matrix or ()
    ]
    assert [result["name"] for result in evaluation["per_class"]] == list(factories.NAMES)
    assert api.get(f"/v1/models/{model.id}").json()["job_id"] == job["id"]
    assert api.get(f"/v1/models/{model.id}/download?format=onnx").content == b"an ONNX file"


def test_pages_contain_every_job_once_while_others_are_submitted(
    api: httpx.Client, database: Database
) -> None:
    expected = {str(queue_driver.submit(database)) for _ in range(7)}
    page = api.get("/v1/jobs", params={"limit": 3}).json()
    seen = [job["id"] for job in page["data"]]
    while page["has_more"]:
        queue_driver.submit(database)
        page = api.get("/v1/jobs", params={"limit": 3, "cursor": page["next_cursor"]}).json()
        seen += [job["id"] for job in page["data"]]

    assert len(seen) == 7
    assert set(seen) == expected


def test_jobs_are_listed_by_state(api: httpx.Client, database: Database) -> None:
    for state, job_id in queue_driver.one_of_each_state(database).items():
        listed = api.get("/v1/jobs", params={"state": state}).json()["data"]
        assert [job["id"] for job in listed] == [str(job_id)]


def test_a_cancelled_job_is_retried_as_a_new_job(api: httpx.Client, redis: RedisServer) -> None:
    first = _submit(api).json()
    assert api.post(f"/v1/jobs/{first['id']}/cancel").json()["state"] == "cancelled"

    second = api.post(f"/v1/jobs/{first['id']}/retry").json()

    assert (second["retry_of"], second["spec"]) == (first["id"], first["spec"])
    wait_until(lambda: _messages(redis) == 2, "both messages are sent")


def test_text_with_a_null_character_is_refused(api: httpx.Client) -> None:
    assert _submit(api, name="a\x00b").status_code == 422
    assert _submit(api, tags=["a\x00b"]).status_code == 422
    assert _submit(api, spec={"dataset": "a\x00b"}).status_code == 422


def test_a_new_api_is_ready_and_lists_no_workers(api: httpx.Client) -> None:
    assert api.get("/readyz").status_code == 200
    assert api.get("/v1/workers").json()["data"] == []


def test_samples_of_mnist_are_twenty_labelled_images(
    settings: Settings, sqlite_url: str, real_mnist: dict[str, str]
) -> None:
    configured = settings.model_copy(update={"database_url": sqlite_url, **real_mnist})
    catalog.load("mnist", configured)  # as a worker does
    with running_app(create_app(configured)) as api:
        samples = api.get("/v1/datasets/mnist/samples", params={"seed": 1}).json()["data"]

    assert len({sample["index"] for sample in samples}) == 20
    assert all(0 <= sample["index"] < 10_000 for sample in samples)
    assert all(sample["name"] == factories.NAMES[sample["label"]] for sample in samples)


@pytest.mark.parametrize("port", [closed_port, silent_port], ids=["closed", "silent"])
def test_a_submit_succeeds_within_3_s_while_the_broker_is_unavailable(
    live_settings: Settings, port: Any
) -> None:
    with port() as number:
        unavailable = live_settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{number}/0"})
        with running_app(create_app(unavailable)) as api:
            _assert_accepted_in_time(api)


def test_a_submit_succeeds_within_3_s_when_its_open_connection_to_the_broker_hangs(
    api: httpx.Client, redis: RedisServer
) -> None:
    assert _submit(api).status_code == 202  # with a connection that is open from now on
    redis.hang()

    _assert_accepted_in_time(api)

    redis.stop()
    redis.start()
    _submit(api)
    wait_until(lambda: _messages(redis) > 0, "workers are woken up, for the jobs meanwhile too")


def _assert_accepted_in_time(api: httpx.Client) -> None:
    with ThreadPoolExecutor(16) as threads:
        submits = list(threads.map(lambda _: _submit_timed(api), range(16)))
    assert max(seconds for _, seconds in submits) < RESPONSE_S
    for job_id, _ in submits:
        assert api.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"


def _submit_timed(api: httpx.Client) -> tuple[UUID, float]:
    started = monotonic()
    response = _submit(api)
    assert response.status_code == 202
    return UUID(response.json()["id"]), monotonic() - started


def test_requests_fail_with_503_during_a_database_outage_and_succeed_afterwards(settings: Settings) -> None:
    with running_postgres() as server:
        configured = settings.model_copy(update={"database_url": migrate(server.url())})
        with running_app(create_app(configured)) as api:
            job = _submit(api).json()
            server.stop()

            failed, ready = api.get(f"/v1/jobs/{job['id']}"), api.get("/readyz")

            assert (failed.status_code, failed.headers["Retry-After"]) == (503, "1")
            assert failed.json()["type"] == "/problems/database-unavailable"
            assert ready.status_code == 503
            assert not ready.json()["checks"]["database"]["ok"]
            server.start()
            assert api.get(f"/v1/jobs/{job['id']}").json()["id"] == job["id"]


@pytest.mark.parametrize("action", ["retry", "clone", "batch", "evaluate"])
def test_a_repeated_request_needs_no_source(api: httpx.Client, database: Database, action: str) -> None:
    trained, model = queue_driver.succeeded(database)
    path, body = {
        "retry": (f"/v1/jobs/{trained}/retry", None),
        "clone": (f"/v1/jobs/{trained}/clone", {"spec": {"dataset": "digits"}}),
        "batch": ("/v1/jobs/batch", {"action": "retry", "ids": [str(trained)]}),
        "evaluate": ("/v1/jobs", {"kind": "evaluate", "spec": {"model_id": str(model.id)}}),
    }[action]

    def send(key: str = "k") -> httpx.Response:
        return api.post(path, json=body, headers={"Idempotency-Key": key})

    def submitted_id(response: httpx.Response) -> Any:
        answer = response.raise_for_status().json()
        return answer["data"][0]["new_id"] if action == "batch" else answer["id"]

    first = submitted_id(send())
    api.post(f"/v1/jobs/{first}/cancel").raise_for_status()
    deleted = f"/v1/models/{model.id}" if action == "evaluate" else f"/v1/jobs/{trained}"
    assert api.delete(deleted).status_code == 204
    assert submitted_id(send()) == first
    if action != "batch":
        assert send().headers["Idempotency-Replayed"] == "true"
        assert send("another").status_code == 404
        other = _submit(api, "k", spec={"dataset": "digits"})
        assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
