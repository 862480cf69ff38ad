from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories

UNKNOWN = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


def _problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def test_a_job_gets_another_name_and_other_tags(client: httpx.Client, database: Database) -> None:
    job_id = factories.failed(database, name="old", tags=("a",))
    before = client.get(f"/v1/jobs/{job_id}")
    answer = client.patch(f"/v1/jobs/{job_id}", json={"name": None, "tags": ["b", "b"]})
    job = answer.raise_for_status().json()
    assert (job["name"], job["tags"], job["version"]) == (None, ["b"], before.json()["version"] + 1)
    assert answer.headers["ETag"] == client.get(f"/v1/jobs/{job_id}").headers["ETag"]


@pytest.mark.parametrize("make", [factories.submitted, factories.failed])
def test_an_edit_of_a_version_that_is_not_the_newest_is_refused(
    client: httpx.Client, database: Database, make: Any
) -> None:
    path = f"/v1/jobs/{make(database)}"
    seen = {"If-Match": client.get(path).headers["ETag"]}
    assert client.patch(path, json={"name": "first"}, headers=seen).status_code == 200
    late = client.patch(path, json={"name": "second"}, headers=seen)
    assert _problem(late) == (412, "version-mismatch")
    assert client.get(path).json()["name"] == "first"
    assert client.patch(path, json={"name": "second"}, headers={"If-Match": "*"}).status_code == 200


@pytest.mark.parametrize("body", [{"state": "queued"}, {"tags": None}, {"name": ""}, {"tags": ["a\n"]}])
def test_an_edit_that_makes_no_sense_is_refused(
    client: httpx.Client, database: Database, body: dict[str, Any]
) -> None:
    job_id = factories.submitted(database)
    assert _problem(client.patch(f"/v1/jobs/{job_id}", json=body)) == (422, "invalid-request")


def test_a_finished_job_is_deleted(client: httpx.Client, database: Database) -> None:
    job_id = factories.failed(database)
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404


def test_a_job_that_cannot_be_deleted_is_kept(client: httpx.Client, database: Database) -> None:
    assert _problem(client.delete(f"/v1/jobs/{factories.submitted(database)}")) == (409, "job-not-finished")
    job_id, model = factories.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    factories.submitted(database, kind="evaluate", spec=spec, model_id=model.id)
    assert _problem(client.delete(f"/v1/jobs/{job_id}")) == (409, "model-in-use")


def test_a_clone_differs_by_what_was_named(client: httpx.Client, database: Database) -> None:
    job_id = factories.submitted(database, name="old", tags=("a",), queue="gpu")
    overrides = {"spec": {"epochs": 7, "train_size": None}, "name": "new"}
    answer = client.post(f"/v1/jobs/{job_id}/clone", json=overrides)
    assert answer.status_code == 202
    clone = client.get(answer.headers["Location"]).json()
    source = client.get(f"/v1/jobs/{job_id}").json()
    assert clone["spec"] == source["spec"] | {"epochs": 7, "train_size": 5500}
    assert (clone["name"], clone["tags"], clone["queue"]) == ("new", ["a"], "gpu")
    assert (clone["state"], clone["retry_of"]) == ("queued", None)


def test_a_clone_of_nothing_else_is_the_same_job_again(client: httpx.Client, database: Database) -> None:
    _, model = factories.succeeded(database)
    spec = factories.make_evaluate_spec(model.id, threshold=0.5)
    job_id = factories.submitted(database, kind="evaluate", spec=spec, model_id=model.id)
    clone = client.post(f"/v1/jobs/{job_id}/clone", json={}).raise_for_status().json()
    assert (clone["kind"], clone["spec"]) == ("evaluate", spec.model_dump(mode="json"))
    assert clone["id"] != str(job_id)


def test_a_clone_with_one_key_is_one_job(client: httpx.Client, database: Database) -> None:
    path, headers = f"/v1/jobs/{factories.submitted(database)}/clone", {"Idempotency-Key": "k"}
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
        ({"priority": "urgent"}, "/priority"),
        ({"state": "queued"}, "/state"),
    ],
)
def test_a_clone_that_makes_no_sense_is_refused(
    client: httpx.Client, database: Database, body: dict[str, Any], pointer: str
) -> None:
    answer = client.post(f"/v1/jobs/{factories.submitted(database)}/clone", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def _batch(client: httpx.Client, action: str, *ids: object, key: str | None = None) -> list[dict[str, Any]]:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"action": action, "ids": [str(one) for one in ids]}
    answer = client.post("/v1/jobs/batch", json=body, headers=headers).raise_for_status()
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def test_a_batch_does_for_each_job_what_can_be_done(client: httpx.Client, database: Database) -> None:
    queued, attempt, ended = (
        factories.submitted(database),
        factories.running(database),
        factories.failed(database),
    )
    results = _batch(client, "cancel", queued, attempt.job_id, ended, UNKNOWN, queued)
    assert [(result["id"], result["status"]) for result in results] == [
        (str(queued), 200),
        (str(attempt.job_id), 202),
        (str(ended), 409),
        (UNKNOWN, 404),
    ]
    assert results[2]["problem"]["type"] == "/problems/job-already-finished"
    assert results[3]["problem"]["instance"] == f"/v1/jobs/{UNKNOWN}"
    assert client.get(f"/v1/jobs/{queued}").json()["state"] == "cancelled"


def test_a_batch_deletes(client: httpx.Client, database: Database) -> None:
    ended, queued = factories.failed(database), factories.submitted(database)
    assert [result["status"] for result in _batch(client, "delete", ended, queued)] == [204, 409]
    assert client.get(f"/v1/jobs/{ended}").status_code == 404


def test_a_batch_of_retries_with_one_key_is_one(client: httpx.Client, database: Database) -> None:
    ids: list[UUID] = [factories.failed(database) for _ in range(2)]
    first, second = (_batch(client, "retry", *ids, key="k" * 255) for _ in range(2))
    assert [result["status"] for result in first] == [202, 202]
    assert [result["new_id"] for result in first] == [result["new_id"] for result in second]
    assert client.get("/v1/jobs/counts").json()["total"] == 4
    retried = client.get(f"/v1/jobs/{first[0]['new_id']}").json()
    assert retried["retry_of"] == str(ids[0])


@pytest.mark.parametrize("ids", [[], ["x"], [UNKNOWN] * 201])
def test_a_batch_of_no_or_too_many_jobs_is_refused(client: httpx.Client, ids: list[str]) -> None:
    answer = client.post("/v1/jobs/batch", json={"action": "delete", "ids": ids})
    assert _problem(answer) == (422, "invalid-request")


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("DELETE", ""), ("POST", "/clone")])
def test_an_unknown_job_is_not_found(client: httpx.Client, method: str, path: str) -> None:
    body: dict[str, Any] | None = None if method == "DELETE" else {}
    assert _problem(client.request(method, f"/v1/jobs/{UNKNOWN}{path}", json=body)) == (404, "job-not-found")


@pytest.mark.parametrize(
    ("method", "path", "offered"),
    [
        ("PATCH", "/v1/jobs/counts", "GET"),
        ("DELETE", "/v1/jobs/counts", "GET"),
        ("POST", "/v1/jobs/counts", "GET"),
        ("GET", "/v1/jobs/batch", "POST"),
        ("PATCH", "/v1/jobs/batch", "POST"),
        ("OPTIONS", "/v1/jobs/batch", "POST"),
    ],
)
def test_the_end_of_the_path_is_never_taken_for_a_jobs_id(
    client: httpx.Client, method: str, path: str, offered: str
) -> None:
    answer = client.request(method, path, json={})

    assert (answer.status_code, answer.headers["Allow"]) == (405, offered)


def test_both_are_answered(client: httpx.Client) -> None:
    assert client.get("/v1/jobs/counts").json()["total"] == 0
    unknown = {"action": "cancel", "ids": ["0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"]}
    assert client.post("/v1/jobs/batch", json=unknown).json()["data"][0]["status"] == 404
