"""No process has more connections to PostgreSQL than docs/operations.md says, whatever it has to do."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest
from sqlalchemy import text

from tests.faults.conftest import NewCluster
from tests.support.servers import NO_TLS, RedisServer
from tests.support.streams import open_stream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

CONNECTIONS = {  # as docs/operations.md says
    "trainshed-api": 15,
    "trainshed-worker": 2,
    "trainshed-job": 1,
}
SLOTS = 2
_PRINTING = "tests.support.stub_executor:Printing"  # else a job has no log of its own
REQUESTERS = 32
_COUNT = text(
    "SELECT application_name, count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY application_name"
)


def test_no_process_has_more_connections_than_is_documented(
    new_cluster: NewCluster, postgresql_url: str, redis: RedisServer
) -> None:
    with new_cluster(postgresql_url, redis.url) as cluster:
        apis = [cluster.api() for _ in range(2)]
        for number in range(6):
            assert apis[number % 2].submit().status_code == 202
        cluster.expect_stored_jobs()
        cluster.worker({"TRAINSHED_EXECUTOR": _PRINTING}, slots=SLOTS)
        stop, most = Event(), dict[str, int]()

        def request(url: str) -> None:
            with httpx.Client(base_url=url, verify=NO_TLS, timeout=30) as http:
                while not stop.is_set():
                    for path in ("/v1/jobs", "/v1/workers", "/metrics", "/jobs"):
                        assert http.get(path).status_code == 200
                    with open_stream(http, "/v1/stream", after="0") as events:
                        next(events)

        def count() -> dict[str, int]:
            rows = cluster.database.read(lambda session: session.execute(_COUNT).all())
            for name, connections in rows:
                most[name] = max(most.get(name, 0), connections)
            return most

        with ThreadPoolExecutor(REQUESTERS) as threads:
            requesting = [threads.submit(request, apis[number % 2].url) for number in range(REQUESTERS)]
            try:
                wait_until(lambda: count().keys() >= CONNECTIONS.keys(), "every program is connected", 30)
                wait_until(lambda: count()["trainshed-api"] >= 2 * 10, "the APIs are busy", 30)
                wait_until(
                    lambda: count() and cluster.job(list(cluster.expected)[-1]).state == "succeeded",
                    "jobs have ended",
                    60,
                )
            finally:
                stop.set()
            assert [each.result(30) for each in requesting] == [None] * REQUESTERS
        processes = {"trainshed-api": 2, "trainshed-worker": 1}
        within = {name: most[name] <= each * processes.get(name, SLOTS) for name, each in CONNECTIONS.items()}
        assert all(within.values()), most
        # this test's own
        assert most.keys() - CONNECTIONS.keys() <= {"trainshed"}


def test_a_worker_of_8_slots_has_10_connections_idle_and_busy(
    new_cluster: NewCluster, postgresql_url: str, redis: RedisServer
) -> None:
    with new_cluster(postgresql_url, redis.url) as cluster:
        counts: list[int] = []

        def count() -> bool:
            rows = cluster.database.read(lambda session: session.execute(_COUNT).all())
            counts.append(sum(connections for name, connections in rows if name != "trainshed"))
            return max(counts) == 10

        cluster.worker({"TRAINSHED_EXECUTOR": _PRINTING}, slots=8)
        count()
        jobs = [cluster.submit(epochs=10) for _ in range(16)]
        wait_until(count, "each slot and the parent are connected", 30)
        wait_until(lambda: count() and all(cluster.job(each).finished_at for each in jobs), "they end", 60)
        wait_until(lambda: count() and len(counts) > 100, "the worker is idle")
        assert max(counts) == 10
