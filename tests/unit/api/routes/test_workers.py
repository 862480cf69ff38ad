from datetime import timedelta

import httpx

from api.routes.workers import find_workers
from shared.db import Database
from shared.tables import Worker
from tests.fakes import FrozenClock


def _report(database: Database, clock: FrozenClock, name: str, seconds_ago: float) -> None:
    heard_at = clock.moment - timedelta(seconds=seconds_ago)
    worker = Worker(
        id=name,
        host="host",
        pid=1,
        queues=["default"],
        devices=["CPU"],
        slots=1,
        versions={"trainshed": "0.1.0"},
        state="online",
        started_at=heard_at,
        heartbeat_at=heard_at,
    )
    database.write(lambda session: session.add(worker))


def test_workers_are_listed_with_the_age_of_their_heartbeat(database: Database) -> None:
    clock = FrozenClock()
    _report(database, clock, "silent", 90)
    _report(database, clock, "lively", 1.5)

    workers = database.read(lambda session: find_workers(session, now=clock))

    assert [(one.id, one.heartbeat_age_s) for one in workers] == [("lively", 1.5), ("silent", 90.0)]


def test_a_heartbeat_is_never_from_the_future(database: Database) -> None:
    clock = FrozenClock()
    _report(database, clock, "early", -0.5)

    (worker,) = database.read(lambda session: find_workers(session, now=clock))

    assert worker.heartbeat_age_s == 0


def test_workers_are_told_over_http(client: httpx.Client, database: Database) -> None:
    assert client.get("/v1/workers").json() == {"data": []}
    _report(database, FrozenClock(), "worker-1", 0)

    (worker,) = client.get("/v1/workers").json()["data"]

    assert (worker["id"], worker["devices"], worker["state"]) == ("worker-1", ["CPU"], "online")
    assert worker["heartbeat_age_s"] > 0
