from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories


def test_workers_are_told_with_what_they_run(client: httpx.Client, database: Database) -> None:
    assert client.get("/v1/workers").json() == {"data": []}
    factories.worker(database)
    job_id = factories.running(database).job_id

    (worker,) = client.get("/v1/workers").json()["data"]

    assert (worker["id"], worker["devices"], worker["state"]) == ("worker-1", ["CPU"], "online")
    assert (worker["busy_slots"], [UUID(one) for one in worker["jobs"]]) == (1, [job_id])
    assert worker["heartbeat_age_s"] >= 0


def test_a_worker_is_drained_and_takes_jobs_again(client: httpx.Client, database: Database) -> None:
    name = factories.worker(database, id="host.example:42")
    assert client.post(f"/v1/workers/{name}/drain").json()["state"] == "draining"
    assert client.post(f"/v1/workers/{name}/drain").json()["state"] == "draining"
    assert client.post(f"/v1/workers/{name}/undrain").json()["state"] == "online"


@pytest.mark.parametrize("action", ["drain", "undrain"])
def test_nothing_can_be_asked_of_a_worker_that_is_not_there(
    client: httpx.Client, database: Database, action: str
) -> None:
    factories.worker(database, id="stopped", state="stopped")
    unknown, stopped = (client.post(f"/v1/workers/{name}/{action}") for name in ("nobody", "stopped"))
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/worker-not-found")
    assert (stopped.status_code, stopped.json()["type"]) == (409, "/problems/worker-stopped")
