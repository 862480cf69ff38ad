from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from shared.schemas import Priority
from tests.support import queue_driver, registry, stored


def test_queues_are_listed_with_their_queued_jobs(client: httpx.Client, database: Database) -> None:
    queue_driver.submit(database, queue="gpu")

    default, gpu = client.get("/v1/queues").json()["data"]

    assert (default["name"], default["queued"]) == ("default", dict.fromkeys(Priority, 0))
    assert (gpu["name"], gpu["queued"]["normal"], gpu["paused"], gpu["workers"]) == ("gpu", 1, False, 0)


def test_a_job_of_a_paused_queue_waits_for_that(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)
    assert client.post("/v1/queues/default/pause").json()["paused"] is True
    assert client.get(f"/v1/jobs/{job_id}").json()["waiting_for"] == "paused"
    assert client.post("/v1/queues/default/resume").json()["paused"] is False
    assert client.get(f"/v1/jobs/{job_id}").json()["waiting_for"] == "no_worker_online"


def test_a_queue_is_resumed_while_the_broker_is_unavailable(client: httpx.Client, database: Database) -> None:
    job_id: UUID = queue_driver.submit(database)
    client.post("/v1/queues/default/pause")
    assert client.post("/v1/queues/default/resume").status_code == 200
    assert stored.state(database, job_id) == "queued"


@pytest.mark.parametrize("name", ["No", "-x", "a" * 65, "a b"])
def test_an_invalid_queue_name_is_refused(client: httpx.Client, name: str) -> None:
    assert client.post(f"/v1/queues/{name}/pause").status_code == 422


def test_the_load_of_each_queue_is_returned_by_its_name(client: httpx.Client, database: Database) -> None:
    registry.worker(database, slots=2)
    queue_driver.running(database)
    for _ in range(4):
        queue_driver.submit(database)

    loads = client.get("/v1/autoscaling").json()["queues"]

    assert loads == {"default": {"queued": 4, "running": 1, "workers": 1, "desired": 3}}


def test_a_queues_limit_is_set_told_and_removed(client: httpx.Client, database: Database) -> None:
    job_id, waiting = queue_driver.running(database).job_id, queue_driver.submit(database)
    registry.worker(database, slots=2)

    limited = client.patch("/v1/queues/default", json={"max_running": 1})

    assert (limited.status_code, limited.json()["max_running"]) == (200, 1)
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
    assert client.get(f"/v1/jobs/{waiting}").json()["waiting_for"] == "queue_limit"
    assert client.patch("/v1/queues/default", json={"max_running": None}).json()["max_running"] is None
    assert client.get(f"/v1/jobs/{waiting}").json()["waiting_for"] is None


@pytest.mark.parametrize("change", [{}, {"max_running": 0}, {"max_running": "3"}, {"max": 3}])
def test_an_invalid_limit_is_refused(change: dict[str, Any], client: httpx.Client) -> None:
    assert client.patch("/v1/queues/default", json=change).status_code == 422
