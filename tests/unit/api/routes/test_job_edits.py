"""Changes of a job over HTTP: rename, tag, delete, clone."""

from typing import Any

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories, queue_driver

UNKNOWN = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


def _problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def test_name_and_tags_of_a_job_are_changed(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database, name="old", tags=("a",))
    before = client.get(f"/v1/jobs/{job_id}")
    answer = client.patch(f"/v1/jobs/{job_id}", json={"name": None, "tags": ["b", "b"]})
    job = answer.raise_for_status().json()
    assert (job["name"], job["tags"], job["version"]) == (None, ["b"], before.json()["version"] + 1)
    assert answer.headers["ETag"] == client.get(f"/v1/jobs/{job_id}").headers["ETag"]


@pytest.mark.parametrize("make", [queue_driver.submit, queue_driver.failed])
def test_edit_of_an_outdated_version_is_refused(client: httpx.Client, database: Database, make: Any) -> None:
    path = f"/v1/jobs/{make(database)}"
    seen = {"If-Match": client.get(path).headers["ETag"]}
    assert client.patch(path, json={"name": "first"}, headers=seen).status_code == 200
    late = client.patch(path, json={"name": "second"}, headers=seen)
    assert _problem(late) == (412, "version-mismatch")
    assert client.get(path).json()["name"] == "first"
    assert client.patch(path, json={"name": "second"}, headers={"If-Match": "*"}).status_code == 200


@pytest.mark.parametrize("body", [{"state": "queued"}, {"tags": None}, {"name": ""}, {"tags": ["a\n"]}])
def test_invalid_edit_is_refused(client: httpx.Client, database: Database, body: dict[str, Any]) -> None:
    job_id = queue_driver.submit(database)
    assert _problem(client.patch(f"/v1/jobs/{job_id}", json=body)) == (422, "invalid-request")


def test_a_finished_job_is_deleted(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database)
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404


def test_unfinished_job_or_job_of_a_used_model_is_not_deleted(
    client: httpx.Client, database: Database
) -> None:
    assert _problem(client.delete(f"/v1/jobs/{queue_driver.submit(database)}")) == (409, "job-not-finished")
    job_id, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    queue_driver.submit(database, kind="evaluate", spec=spec, model_id=model.id)
    assert _problem(client.delete(f"/v1/jobs/{job_id}")) == (409, "model-in-use")


def test_clone_differs_by_its_overrides(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database, name="old", tags=("a",), queue="gpu")
    overrides = {"spec": {"epochs": 7, "train_size": None}, "name": "new"}
    answer = client.post(f"/v1/jobs/{job_id}/clone", json=overrides)
    assert answer.status_code == 202
    clone = client.get(answer.headers["Location"]).json()
    source = client.get(f"/v1/jobs/{job_id}").json()
    assert clone["spec"] == source["spec"] | {"epochs": 7, "train_size": 5500}
    assert (clone["name"], clone["tags"], clone["queue"]) == ("new", ["a"], "gpu")
    assert (clone["state"], clone["retry_of"]) == ("queued", None)


def test_clone_without_overrides_has_the_same_spec(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id, threshold=0.5)
    job_id = queue_driver.submit(database, kind="evaluate", spec=spec, model_id=model.id)
    clone = client.post(f"/v1/jobs/{job_id}/clone", json={}).raise_for_status().json()
    assert (clone["kind"], clone["spec"]) == ("evaluate", spec.model_dump(mode="json"))
    assert clone["id"] != str(job_id)


def test_repeated_clone_returns_the_same_job(client: httpx.Client, database: Database) -> None:
    path, headers = f"/v1/jobs/{queue_driver.submit(database)}/clone", {"Idempotency-Key": "k"}
    first, second = (client.post(path, json={"name": "x"}, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    other = client.post(path, json={"name": "y"}, headers=headers)
    assert _problem(other) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"spec": {"epochs": 0}}, "/spec/epochs"),
        ({"spec": {"epoch": 1}}, "/spec/epoch"),
        ({"spec": {"train_size": 55_001}}, "/spec/train_size"),
        ({"spec": {"dataset": "cifar"}}, "/spec/dataset"),
        ({"queue": None}, "/queue"),
        ({"priority": "first"}, "/priority"),
        ({"state": "queued"}, "/state"),
    ],
)
def test_invalid_clone_is_refused(
    client: httpx.Client, database: Database, body: dict[str, Any], pointer: str
) -> None:
    answer = client.post(f"/v1/jobs/{queue_driver.submit(database)}/clone", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("DELETE", ""), ("POST", "/clone")])
def test_an_unknown_job_is_not_found(client: httpx.Client, method: str, path: str) -> None:
    body: dict[str, Any] | None = None if method == "DELETE" else {}
    assert _problem(client.request(method, f"/v1/jobs/{UNKNOWN}{path}", json=body)) == (404, "job-not-found")


def test_the_priority_and_the_queue_of_a_queued_job_are_changed(
    client: httpx.Client, database: Database
) -> None:
    job_id = queue_driver.submit(database)
    edited = client.patch(f"/v1/jobs/{job_id}", json={"priority": "high", "queue": "gpu"})
    assert edited.status_code == 200
    assert (edited.json()["priority"], edited.json()["queue"]) == ("high", "gpu")


def test_the_priority_of_a_job_that_has_started_is_not_changed(
    client: httpx.Client, database: Database
) -> None:
    job_id = queue_driver.running(database).job_id
    refused = client.patch(f"/v1/jobs/{job_id}", json={"priority": "high", "name": "x"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/job-not-queued")
    assert client.get(f"/v1/jobs/{job_id}").json()["name"] is None
