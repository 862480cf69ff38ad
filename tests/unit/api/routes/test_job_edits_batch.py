"""Batches over HTTP: one action for many jobs, each with a result of its own."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from tests.support import queue_driver

UNKNOWN = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


def _batch(client: httpx.Client, action: str, *ids: object, key: str | None = None) -> list[dict[str, Any]]:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"action": action, "ids": [str(job_id) for job_id in ids]}
    answer = client.post("/v1/jobs/batch", json=body, headers=headers).raise_for_status()
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def test_each_job_of_a_batch_has_its_own_result(client: httpx.Client, database: Database) -> None:
    queued, attempt, failed = (
        queue_driver.submit(database),
        queue_driver.running(database),
        queue_driver.failed(database),
    )
    results = _batch(client, "cancel", queued, attempt.job_id, failed, UNKNOWN, queued)
    assert [(result["id"], result["status"]) for result in results] == [
        (str(queued), 200),
        (str(attempt.job_id), 202),
        (str(failed), 409),
        (UNKNOWN, 404),
    ]
    assert results[2]["problem"]["type"] == "/problems/job-already-finished"
    assert results[3]["problem"]["instance"] == f"/v1/jobs/{UNKNOWN}"
    assert client.get(f"/v1/jobs/{queued}").json()["state"] == "cancelled"


def test_a_batch_deletes(client: httpx.Client, database: Database) -> None:
    failed, queued = queue_driver.failed(database), queue_driver.submit(database)
    assert [result["status"] for result in _batch(client, "delete", failed, queued)] == [204, 409]
    assert client.get(f"/v1/jobs/{failed}").status_code == 404


def test_a_batch_of_retries_with_an_idempotency_key_is_idempotent(
    client: httpx.Client, database: Database
) -> None:
    ids: list[UUID] = [queue_driver.failed(database) for _ in range(2)]
    first, second = (_batch(client, "retry", *ids, key="k" * 255) for _ in range(2))
    assert [result["status"] for result in first] == [202, 202]
    assert [result["new_id"] for result in first] == [result["new_id"] for result in second]
    assert client.get("/v1/jobs/counts").json()["total"] == 4
    retried = client.get(f"/v1/jobs/{first[0]['new_id']}").json()
    assert retried["retry_of"] == str(ids[0])


@pytest.mark.parametrize("ids", [[], ["x"], [UNKNOWN] * 201])
def test_a_batch_of_no_or_too_many_jobs_is_refused(client: httpx.Client, ids: list[str]) -> None:
    answer = client.post("/v1/jobs/batch", json={"action": "delete", "ids": ids})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


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
def test_counts_and_batch_are_not_taken_for_job_ids(
    client: httpx.Client, method: str, path: str, offered: str
) -> None:
    answer = client.request(method, path, json={})

    assert (answer.status_code, answer.headers["Allow"]) == (405, offered)
