from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from tests.support import queue_driver, registry


def test_workers_are_listed_with_their_running_jobs(client: httpx.Client, database: Database) -> None:
    assert client.get("/v1/workers").json() == {"data": [], "next_cursor": None, "has_more": False}
    registry.worker(database)
    job_id = queue_driver.running(database).job_id

    (worker,) = client.get("/v1/workers").json()["data"]

    assert (worker["id"], worker["devices"], worker["state"]) == ("worker-1", ["CPU"], "online")
    assert (worker["busy_slots"], [UUID(job) for job in worker["jobs"]]) == (1, [job_id])
    assert worker["heartbeat_age_s"] >= 0


def test_workers_are_listed_page_by_page(client: httpx.Client, database: Database) -> None:
    for name in "abc":
        registry.worker(database, id=name)

    first = client.get("/v1/workers", params={"limit": 2}).json()
    second = client.get("/v1/workers", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [worker["id"] for worker in first["data"]] == ["a", "b"]
    assert [worker["id"] for worker in second["data"]] == ["c"]
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_a_worker_is_drained_and_takes_jobs_again(client: httpx.Client, database: Database) -> None:
    name = registry.worker(database, id="host.example:42")
    assert client.post(f"/v1/workers/{name}/drain").json()["state"] == "draining"
    assert client.post(f"/v1/workers/{name}/drain").json()["state"] == "draining"
    assert client.post(f"/v1/workers/{name}/undrain").json()["state"] == "online"


@pytest.mark.parametrize("action", ["drain", "undrain"])
def test_an_unknown_or_stopped_worker_cannot_be_drained(
    client: httpx.Client, database: Database, action: str
) -> None:
    registry.worker(database, id="stopped", state="stopped")
    unknown, stopped = (client.post(f"/v1/workers/{name}/{action}") for name in ("nobody", "stopped"))
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/worker-not-found")
    assert (stopped.status_code, stopped.json()["type"]) == (409, "/problems/worker-stopped")


def test_the_history_of_a_worker_is_listed_page_by_page(client: httpx.Client, database: Database) -> None:
    name = registry.worker(database, id="host.example:42")
    jobs = [queue_driver.submit(database) for _ in range(3)]
    ids = [queue_driver.claim(database, job_id, worker=name).attempt.job_id for job_id in jobs]
    path = f"/v1/workers/{name}/attempts"

    first = client.get(path, params={"limit": 2}).json()
    second = client.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [UUID(attempt["job_id"]) for attempt in first["data"] + second["data"]] == ids[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert set(first["data"][0]) == {
        *("job_id", "number", "kind", "name", "device", "started_at", "finished_at", "outcome"),
        *("error_code", "error_message"),
    }


def test_the_history_of_an_unknown_worker_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/v1/workers/nobody/attempts")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/worker-not-found")
