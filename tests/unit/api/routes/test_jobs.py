"""Jobs over HTTP: read, poll, cancel, retry."""

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from tests.support import factories, queue_driver, stored
from tests.support.waiting import wait_until

UNKNOWN = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


def test_a_running_job_shows_its_attempt_and_progress(client: httpx.Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 2)

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
    assert job["values"] == factories.make_epoch(1).values
    assert [attempt["worker"] for attempt in job["attempts"]] == ["worker-1"]


def test_unchanged_job_is_not_sent_again(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)
    tag = client.get(f"/v1/jobs/{job_id}").headers["ETag"]

    answer = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == tag
    assert answer.headers["Retry-After"] == "1"


def test_a_tag_of_before_a_restore_names_no_other_state(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.running(database).job_id
    path = f"/v1/jobs/{job_id}?wait=0"  # of which no response is kept
    before = client.get(path)
    unchanged = client.get(path, headers={"If-None-Match": before.headers["ETag"]})
    # as after a restore from a backup of before its start, when it has started again
    stored.set_columns(database, job_id, started_at=datetime(2026, 1, 2, tzinfo=UTC))

    answer = client.get(path, headers={"If-None-Match": before.headers["ETag"]})

    assert (unchanged.status_code, answer.status_code) == (304, 200)
    assert answer.json()["version"] == before.json()["version"]
    name = client.patch(
        f"/v1/jobs/{job_id}", json={"name": "x"}, headers={"If-Match": answer.headers["ETag"]}
    )
    assert name.status_code == 200
    assert name.headers["ETag"] == client.get(path).headers["ETag"]


def test_changed_job_is_sent_again(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)
    tag = client.get(f"/v1/jobs/{job_id}").headers["ETag"]
    queue_driver.claim(database, job_id)

    def changed() -> httpx.Response | None:  # by another process: it is noticed within a quarter of a second
        answer = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})
        return answer if answer.status_code == 200 else None

    assert wait_until(changed, "the change is seen").headers["ETag"] != tag


def test_a_finished_job_need_not_be_polled(client: httpx.Client, database: Database) -> None:
    answer = client.get(f"/v1/jobs/{queue_driver.failed(database)}")

    assert "Retry-After" not in answer.headers
    assert answer.json()["error"] == {"code": "internal", "message": "it broke"}


def test_a_queued_job_is_cancelled_at_once(client: httpx.Client, database: Database) -> None:
    answer = client.post(f"/v1/jobs/{queue_driver.submit(database)}/cancel")

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_running_job_is_told_to_stop(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.running(database).job_id

    first, second = (client.post(f"/v1/jobs/{job_id}/cancel") for _ in range(2))

    assert (first.status_code, first.json()["state"]) == (202, "running")
    assert first.json()["cancel_requested_at"] is not None
    assert second.status_code == 202
    assert second.json() == first.json()


def test_a_cancelled_job_stays_cancelled(client: httpx.Client, database: Database) -> None:
    assert client.post(f"/v1/jobs/{queue_driver.cancelled(database)}/cancel").status_code == 200


def test_a_finished_job_cannot_be_cancelled(client: httpx.Client, database: Database) -> None:
    answer = client.post(f"/v1/jobs/{queue_driver.failed(database)}/cancel")

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/job-already-finished"


def test_a_retry_is_a_new_job_with_the_same_spec(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.succeeded(
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
    _, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    job_id = queue_driver.cancelled(database, kind="evaluate", spec=spec, model_id=model.id)

    assert client.post(f"/v1/jobs/{job_id}/retry").json()["model_id"] == str(model.id)


def test_repeated_retry_returns_the_same_job(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database)

    first, second = (
        client.post(f"/v1/jobs/{job_id}/retry", headers={"Idempotency-Key": "again"}) for _ in range(2)
    )

    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"


def test_an_unfinished_job_cannot_be_retried(client: httpx.Client, database: Database) -> None:
    for job_id in (queue_driver.submit(database), queue_driver.running(database).job_id):
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
    queue_driver.one_of_each_state(database)

    data = client.get("/v1/jobs/throughput").json()["data"]

    assert len(data) == 60
    assert data == sorted(data, key=lambda minute: minute["at"])
    states = ("succeeded", "failed", "cancelled")
    assert {state: sum(minute[state] for minute in data) for state in states} == dict.fromkeys(states, 1)


@pytest.mark.parametrize("minutes", [0, 1_441, "all"])
def test_minutes_that_cannot_be_counted_are_refused(client: httpx.Client, minutes: object) -> None:
    answer = client.get("/v1/jobs/throughput", params={"minutes": str(minutes)})

    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "minutes")
