"""The API and a worker reach PostgreSQL through PgBouncer in transaction mode, which has few connections."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.faults.conftest import NewCluster
from tests.support.databases import open_database
from tests.support.lacking import environment_lacks
from tests.support.pgbouncer import PgBouncer, find, running_pgbouncer
from tests.support.servers import PostgresServer, RedisServer
from trainshed import Client

pytestmark = [pytest.mark.faults, pytest.mark.kills]

POOL_SIZE = 4
STATEMENTS = 120
SETTINGS = {
    "idle_in_transaction_session_timeout": "10s",
    "transaction_timeout": "20s",
    "max_parallel_workers_per_gather": "0",
}


@pytest.fixture(scope="module")
def program() -> str:
    """PgBouncer's path; it is needed where `.ci/run` runs."""
    if (found := find()) is None:
        environment_lacks("no pgbouncer: apt-get install pgbouncer")
    return found


@pytest.fixture
def name(postgresql_url: str) -> str:
    """The name of a migrated, empty PostgreSQL database."""
    return postgresql_url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def pgbouncer(program: str, name: str, postgres_server: PostgresServer) -> Iterator[PgBouncer]:  # noqa: ARG001 (migrates it)
    with running_pgbouncer(program, postgres_server, pool_size=POOL_SIZE) as pgbouncer:
        yield pgbouncer


def settings_of_servers(pgbouncer: PgBouncer, name: str) -> list[dict[str, str]]:
    """Return the settings of each connection of the server; as many clients have a transaction open."""
    found = []
    with ExitStack() as stack:
        for _ in range(POOL_SIZE):
            connection = stack.enter_context(pgbouncer.connect(name))
            rows = [(each, connection.execute(f"SHOW {each}".encode()).fetchone()) for each in SETTINGS]
            found.append({each: row[0] for each, row in rows if row})
    return found


def test_jobs_succeed_although_pgbouncer_is_killed_in_their_middle(
    pgbouncer: PgBouncer, name: str, new_cluster: NewCluster, redis: RedisServer
) -> None:
    assert settings_of_servers(pgbouncer, name) == [SETTINGS] * POOL_SIZE
    with new_cluster(pgbouncer.url(name), redis.url, lease_s=6.0) as cluster:
        api = cluster.api()
        worker = cluster.start_worker(slots=2)
        for _ in range(4):
            assert api.submit().status_code == 202
        jobs = cluster.expect_stored_jobs()
        cluster.wait_until_ready(worker, slots=2)
        cluster.wait_for_epoch(jobs[0], 1)
        with Client(api.url) as server:
            events = server.stream(jobs[0])
            assert next(events).seq == 1
            pgbouncer.kill()
            pgbouncer.start()
            assert [event.seq for event in events][-1] == server.job(jobs[0]).version
        assert api.submit().status_code == 202
        cluster.expect_stored_jobs()
        cluster.wait_for_all()
        assert settings_of_servers(pgbouncer, name) == [SETTINGS] * POOL_SIZE


def test_more_clients_than_connections_prepare_more_statements_than_either_keeps(
    pgbouncer: PgBouncer, name: str
) -> None:
    def add_one(session: Session) -> list[int]:
        # psycopg prepares a statement when it is executed for the sixth time, and keeps 100
        numbers = [number for number in range(STATEMENTS) for _ in range(7)]
        return [session.execute(text(f"SELECT {n} + :one"), {"one": 1}).scalar_one() for n in numbers]

    with ExitStack() as stack:
        databases = [stack.enter_context(open_database(pgbouncer.url(name))) for _ in range(2 * POOL_SIZE)]
        with ThreadPoolExecutor(len(databases)) as threads:
            for _ in range(2):
                for numbers in threads.map(lambda database: database.read(add_one), databases):
                    assert numbers == [number + 1 for number in range(STATEMENTS) for _ in range(7)]
