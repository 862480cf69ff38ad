"""Short ids in the place of whole ones, in paths, queries and bodies."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Engine, event

from shared.db.engine import Database
from shared.lifecycle import JobState
from tests.support import factories, queue_driver

ONE = UUID("01900000-0000-7000-8000-0000aaaa1111")
OTHER = UUID("01910000-0000-7000-8000-0000bbbb1111")


@pytest.mark.parametrize(
    "path", ["", "/events", "/logs", "/metrics", "/weights", "/evaluation", "/misclassified", "/images"]
)
def test_a_job_is_read_by_the_end_of_its_id(client: httpx.Client, database: Database, path: str) -> None:
    spec = factories.make_spec(dataset="digits")
    attempt = queue_driver.running(database, spec=spec)
    queue_driver.succeed(database, attempt, factories.make_model(spec=spec))
    whole, short = (f"/v1/jobs/{job}{path}" for job in (attempt.job_id, str(attempt.job_id)[-8:]))

    answer = client.get(short)

    assert (answer.status_code, answer.content) == (200, client.get(whole).content)
    assert answer.headers.get("ETag") == client.get(whole).headers.get("ETag")


def test_a_job_is_streamed_by_the_end_of_its_id(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.cancelled(database)

    assert "event: end" in client.get(f"/v1/jobs/{str(job_id)[-8:]}/stream").text


def test_jobs_are_changed_by_the_end_of_their_ids(client: httpx.Client, database: Database) -> None:
    short = str(queue_driver.submit(database))[-8:]

    assert client.patch(f"/v1/jobs/{short}", json={"name": "mine"}).json()["name"] == "mine"
    assert client.post(f"/v1/jobs/{short}/cancel").json()["state"] == JobState.CANCELLED
    retried = client.post(f"/v1/jobs/{short}/retry").json()
    assert retried["retry_of"][-8:] == short
    assert client.post(f"/v1/jobs/{short}/clone", json={}).json()["name"] == "mine"
    batch = client.post("/v1/jobs/batch", json={"action": "delete", "ids": [short]}).json()["data"]
    assert [(result["id"][-8:], result["status"]) for result in batch] == [(short, 204)]
    assert client.get(f"/v1/jobs/{short}").status_code == 404


def test_a_batch_with_digits_of_no_job_does_nothing(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)

    answer = client.post("/v1/jobs/batch", json={"action": "cancel", "ids": [str(job_id), "ffffffff"]})

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/job-not-found")
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == JobState.QUEUED


def test_jobs_are_compared_by_the_ends_of_their_ids(client: httpx.Client, database: Database) -> None:
    ids = [str(queue_driver.submit(database)) for _ in range(2)]
    short = {"jobs": ",".join(job_id[-8:] for job_id in ids)}

    assert [job["id"] for job in client.get("/v1/compare", params=short).json()["jobs"]] == ids
    assert [job["job_id"] for job in client.get("/v1/metrics", params=short).json()["data"]] == ids


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/jobs", {"kind": "train"}), ("/v1/sweeps", {"strategy": "grid", "parameters": {"epochs": [1]}})],
)
def test_a_job_runs_after_one_that_the_end_of_its_id_names(
    client: httpx.Client, database: Database, path: str, body: dict[str, Any]
) -> None:
    before = str(queue_driver.submit(database))

    submitted = [
        client.post(path, json={**body, "after": [job]}, headers={"Idempotency-Key": job})
        for job in (before, before[-8:], before[-8:])
    ]

    assert [answer.status_code for answer in submitted] == [202] * 3, submitted[1].text
    assert submitted[2].headers["Idempotency-Replayed"] == "true"
    [newest] = client.get("/v1/jobs", params={"limit": 1}).json()["data"]
    assert client.get(f"/v1/jobs/{newest['id']}").json()["waiting_for"] == "predecessors"


def test_an_evaluation_names_the_model_by_digits_also_one_that_is_to_come(
    client: httpx.Client, database: Database
) -> None:
    _, model = queue_driver.succeeded(database)
    to_come = queue_driver.submit(database)
    body: dict[str, Any] = {"kind": "evaluate", "spec": {"model_id": str(model.id)[-8:]}}
    assert client.post("/v1/jobs", json=body).json()["model_id"] == str(model.id)

    short = str(to_come)[-8:]
    body = {"kind": "evaluate", "spec": {"model_id": short}, "after": [short]}

    assert client.post("/v1/jobs", json=body).json()["model_id"] == str(to_come)


def test_models_and_sweeps_are_read_by_the_ends_of_their_ids(
    client: httpx.Client, database: Database
) -> None:
    _, model = queue_driver.succeeded(database)
    sweep_id, _ = queue_driver.submit_sweep(database, epochs=[1, 2])

    assert client.get(f"/v1/models/{str(model.id)[-8:]}").json()["id"] == str(model.id)
    assert client.get(f"/v1/models/{str(model.id)[-8:]}/download").status_code == 200
    assert client.get(f"/v1/sweeps/{str(sweep_id)[-8:]}").json()["id"] == str(sweep_id)


@pytest.mark.parametrize(
    "path", ["/jobs/{}", "/jobs/new?from={}", "/compare?job={}&job={}", "/jobs/{}?with={}"]
)
def test_pages_take_the_end_of_an_id(client: httpx.Client, database: Database, path: str) -> None:
    ids = [str(queue_driver.submit(database)) for _ in range(2)]

    page = client.get(path.format(*(job_id[-8:] for job_id in ids)))

    assert page.status_code == 200
    assert ids[0] in page.text or "from=" in path


def test_digits_of_several_jobs_are_refused_with_their_ids(client: httpx.Client, database: Database) -> None:
    for job_id in (ONE, OTHER):
        queue_driver.submit(database, id=job_id)

    answer = client.get("/v1/jobs/1111")

    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (409, "/problems/ambiguous-id")
    assert problem["detail"] == (
        f"several jobs' ids begin or end with 1111: {OTHER}, {ONE}; give more digits"
    )


def test_digits_of_no_job_are_not_found_as_such(client: httpx.Client) -> None:
    problem = client.get("/v1/jobs/2785636c").json()

    assert (problem["status"], problem["type"]) == (404, "/problems/job-not-found")
    assert problem["detail"] == "no job's id begins or ends with 2785636c: give the whole id"


def test_only_a_short_id_is_looked_up(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)
    sent: list[str] = []

    def record(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        sent.append(sql)

    def lookups(path: str) -> int:
        sent.clear()
        assert client.get(path).status_code == 200
        assert sent
        return sum("LIKE" in sql or "BETWEEN" in sql for sql in sent)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        assert lookups(f"/v1/jobs/{job_id}/events") == 0
        assert lookups(f"/v1/jobs/{str(job_id)[-8:]}/events") == 2
    finally:
        event.remove(Engine, "before_cursor_execute", record)
