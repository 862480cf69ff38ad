"""Two hosts train real digits, and one of them loses Redis, PostgreSQL or both for a minute.

`make e2e-hosts`. Each host is a network namespace (`lan.py`), which needs root. The packets of the one that
is cut off are dropped silently, as by a broken switch: no connection is closed, and those that were open are
dead when it is back.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from shared.db.engine import Database
from shared.lifecycle import AttemptOutcome, EventType, JobState, WorkerState
from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.faults import oracle
from tests.faults.cluster import Cluster, fast_settings
from tests.faults.conftest import NewCluster
from tests.faults.lan import SERVERS, SERVERS_ADDRESS, Lan, needs_lan
from tests.faults.programs import Api, Program, pass_seconds, training
from tests.support import queue_driver, stored
from tests.support.databases import migrate, open_database
from tests.support.servers import PostgresServer, RedisServer, running_postgres, running_redis
from tests.support.waiting import wait_until
from trainshed import Client

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600), needs_lan]

HOSTS = ("host-a", "host-b")
REDIS, POSTGRESQL = 6379, 5432  # ports
CUT_S = 60.0
BACK_S = 15.0  # in which a worker uses its connections again, of which the one to Redis takes longest
VANISHED_S = 11.0  # after which PostgreSQL ends the transaction of a host that is gone
MARGIN_S = 3.0  # for a busy machine

# as users have them
DEFAULTS = {
    name: Settings.model_fields[name].default
    for name in ("lease_s", "heartbeat_s", "reconcile_s", "cancel_poll_s")
}
REAL = {"executor": "workers.mnist.executor:MnistExecutor"}


def digits(seed: int, **overrides: Any) -> TrainSpec:
    sizes = {"train_size": 1_000, "validation_size": 200, "evaluation_size": 190}
    return training(dataset="digits", seed=seed, **sizes, **overrides)


LONG = [digits(seed, epochs=100, batch_size=4) for seed in (1, 2)]  # half a minute and more
SHORT = [digits(seed, epochs=2, batch_size=50) for seed in (3, 4, 5)]


@pytest.fixture(scope="module")
def golden(
    tmp_path_factory: pytest.TempPathFactory, new_sqlite: Callable[[Path], str]
) -> dict[TrainSpec, oracle.Golden]:
    """The results of each spec, from a worker that nothing interrupts."""
    folder = tmp_path_factory.mktemp("golden")
    with running_redis() as redis:
        values = {"data_dir": folder, "database_url": new_sqlite(folder), "redis_url": redis.url}
        with Cluster(folder, Settings(**fast_settings(**values, **DEFAULTS, **REAL))) as cluster:
            cluster.worker(slots=2)
            runs = {spec: cluster.submit(**spec.model_dump()) for spec in (*LONG, *SHORT)}
            cluster.wait_for_all(timeout=400)
            assert {cluster.job(job_id).attempt for job_id in runs.values()} == {1}
            return {
                spec: cluster.database.read(lambda session, job_id=job_id: oracle.stored_run(session, job_id))  # type: ignore[misc]
                for spec, job_id in runs.items()
            }


@pytest.fixture
def lan() -> Iterator[Lan]:
    with Lan(HOSTS) as lan:
        yield lan


@pytest.fixture
def postgres(lan: Lan) -> Iterator[PostgresServer]:
    """A PostgreSQL that the hosts reach, with a migrated, empty database."""
    with lan.inside(SERVERS), running_postgres("-c", f"listen_addresses={SERVERS_ADDRESS}") as server:
        server.execute("CREATE DATABASE hosts")
        migrate(server.url("hosts"))
        yield server


@pytest.fixture
def far_url(postgres: PostgresServer) -> str:
    """The URL of that database for the hosts."""
    return postgres.url("hosts", f"{SERVERS_ADDRESS}:{POSTGRESQL}")


@pytest.fixture
def far_redis(lan: Lan) -> Iterator[RedisServer]:
    """A Redis that the hosts reach."""
    options = ("--port", str(REDIS), "--bind", SERVERS_ADDRESS, "--protected-mode", "no")
    with lan.inside(SERVERS), running_redis(*options) as server:
        yield server


@dataclass
class Hosts:
    """A worker on each host, and an API beside the servers."""

    lan: Lan
    cluster: Cluster
    api: Api
    workers: dict[str, Program]

    def submit(self, spec: TrainSpec, queue: str = "default") -> UUID:
        body = {"kind": "train", "spec": spec.model_dump(mode="json"), "queue": queue}
        with self.lan.inside(SERVERS):
            response = self.api.post("jobs", body).raise_for_status()
        job_id = UUID(response.json()["id"])
        self.cluster.expected[job_id] = JobState.SUCCEEDED
        return job_id

    def host_of(self, job_id: UUID) -> str:
        """The host that runs a job."""
        owner = self.cluster.owner(job_id)
        return next(host for host, worker in self.workers.items() if worker is owner)

    def state_of(self, host: str) -> WorkerState:
        """The state of a host's worker, as the API shows it."""
        with self.lan.inside(SERVERS):
            page = self.api.get("workers")
        [state] = [row["state"] for row in page["data"] if row["pid"] == self.workers[host].pid]
        return WorkerState(state)

    def follow(self, job_id: UUID) -> list[int]:
        """Follow a job's events to its end, as they happen, and return their numbers."""
        with self.lan.inside(SERVERS), Client(self.api.url) as client:  # of this thread
            return [event.seq for event in client.stream(job_id)]

    @contextmanager
    def cut_off(self, host: str, ports: Sequence[int]) -> Iterator[datetime]:
        """Cut a host off for `CUT_S` seconds, in which this block must end; yields the time of the cut."""
        self.lan.cut(host, *ports)
        began = monotonic()
        yield self.cluster.now()
        pass_seconds(began + CUT_S - monotonic())
        assert self.state_of(host) is (WorkerState.LOST if POSTGRESQL in ports else WorkerState.ONLINE)
        self.lan.mend(host, *ports)


@pytest.fixture
def hosts(
    lan: Lan,
    postgres: PostgresServer,
    far_url: str,
    far_redis: RedisServer,
    new_cluster: NewCluster,
    golden: dict[TrainSpec, oracle.Golden],
    tmp_path: Path,
) -> Iterator[Hosts]:
    """Both hosts, with a worker of two slots each, which also serves a queue named like its host."""
    with new_cluster(postgres.url("hosts"), far_redis.url, **DEFAULTS, **REAL) as cluster:
        cluster.golden = golden.__getitem__
        workers = {}
        for host in HOSTS:
            (tmp_path / host).mkdir()
            environment = {
                "TRAINSHED_DATABASE_URL": far_url,
                "TRAINSHED_REDIS_URL": f"redis://{SERVERS_ADDRESS}:{REDIS}/0",
                "TRAINSHED_DATA_DIR": str(tmp_path / host),
                "TRAINSHED_QUEUES": f"default,{host}",
            }
            with lan.inside(host):
                workers[host] = cluster.start_worker(environment, slots=2)
        for worker in workers.values():
            cluster.wait_until_ready(worker, slots=2, timeout=120)
        with lan.inside(SERVERS):
            api = cluster.api()
        yield Hosts(lan, cluster, api, workers)
        assert [worker.code for worker in workers.values()] == [None, None]


@pytest.mark.parametrize(
    "ports",
    [
        pytest.param((REDIS,), id="redis"),
        pytest.param((POSTGRESQL,), id="postgresql"),
        pytest.param((REDIS, POSTGRESQL), id="both"),
    ],
)
def test_a_host_that_is_cut_off_for_a_minute_loses_nothing_and_does_nothing_twice(
    hosts: Hosts, ports: Sequence[int], pytestconfig: pytest.Config, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = hosts.cluster
    with ThreadPoolExecutor() as threads:
        long = [hosts.submit(spec) for spec in LONG]
        streams = [threads.submit(hosts.follow, job_id) for job_id in long]
        for job_id in long:
            cluster.wait_for_epoch(job_id, 3, timeout=60)
        host = hosts.host_of(long[0])
        held = [job_id for job_id in long if hosts.host_of(job_id) == host]
        with hosts.cut_off(host, ports) as cut_at:
            for job_id in [hosts.submit(spec) for spec in SHORT]:
                cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=CUT_S)
        back_at = cluster.now()
        own = hosts.submit(SHORT[0], queue=host)  # which no other host serves
        cluster.wait_for(own, JobState.SUCCEEDED, timeout=90)
        # its processes reach the database before its next heartbeat does
        wait_until(lambda: hosts.state_of(host) is WorkerState.ONLINE, f"{host} is online", BACK_S)
        cluster.wait_for_all(timeout=300)
        for job_id, stream in zip(long, streams, strict=True):
            assert stream.result() == list(range(1, cluster.job(job_id).version + 1))

    lost = held if POSTGRESQL in ports else []
    assert [cluster.job(job_id).attempt for job_id in long] == [1 + (job_id in lost) for job_id in long]
    taken_over = [seconds_until_taken_over(cluster, job_id, cut_at) for job_id in lost]
    bound = DEFAULTS["lease_s"] + DEFAULTS["reconcile_s"]
    assert all(seconds <= bound + MARGIN_S for seconds in taken_over)
    worked_again = seconds_between(back_at, event_at(cluster, own, EventType.CLAIMED))
    assert worked_again <= BACK_S + MARGIN_S
    lines = [f"{len(held)} of {len(long)} jobs were on the host that lost {ports}"]
    lines += [f"one went on elsewhere {seconds:.1f} s after the cut" for seconds in taken_over]
    lines += [f"the host's next job began {worked_again:.1f} s after its return"]
    with capfd.disabled():
        pytestconfig.get_terminal_writer().line("; ".join(lines))


def seconds_until_taken_over(cluster: Cluster, job_id: UUID, cut_at: datetime) -> float:
    """Check that another worker took a job over and that the first one wrote nothing from then on.

    The oracle checks the events, epochs and results.
    """
    first, second = (stored.attempt(cluster.database, job_id, number) for number in (1, 2))
    assert first.worker != second.worker
    assert first.outcome == AttemptOutcome.LOST
    *_, last = (event for event in cluster.events(job_id) if event.attempt == 1)
    assert last.type == EventType.LEASE_EXPIRED
    return seconds_between(cut_at, second.started_at)


def event_at(cluster: Cluster, job_id: UUID, type_: EventType) -> datetime:
    """The time of a job's first event of a type."""
    return next(event.at for event in cluster.events(job_id) if event.type == type_)


def seconds_between(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()


def promise_a_statement(connection: psycopg.Connection) -> None:
    """Begin a pipeline, as for many rows: the transaction waits for more, and does not count as idle."""
    connection.pgconn.enter_pipeline_mode()
    connection.pgconn.send_query_params(b"SELECT 1", None)
    connection.pgconn.send_flush_request()
    connection.pgconn.flush()


def ask_for_more_than_is_read(connection: psycopg.Connection) -> None:
    """Have PostgreSQL send more than the buffers between it and the host hold."""
    connection.pgconn.send_query_params(b"SELECT repeat('x', 50000000)", None)
    connection.pgconn.flush()


@pytest.mark.parametrize("begin", [promise_a_statement, ask_for_more_than_is_read])
def test_what_a_host_has_locked_is_free_soon_after_it_has_vanished(
    lan: Lan, postgres: PostgresServer, far_url: str, begin: Callable[[psycopg.Connection], None]
) -> None:
    with open_database(postgres.url("hosts")) as database, open_database(far_url) as far:
        job_id = queue_driver.submit(database)
        with lan.inside(HOSTS[0]):
            connection = far.engine.connect()
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        stored.lock(connection, job_id)
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        begin(driver)
        wait_until(lambda: waits_for_the_client(database, pid), "PostgreSQL waits for the host")
        lan.cut(HOSTS[0], POSTGRESQL)
        lost = text("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = :pid")
        try:
            wait_until(
                lambda: database.read(lambda session: session.scalar(lost, {"pid": pid})),
                "PostgreSQL has ended the transaction",
                VANISHED_S + MARGIN_S,
            )
        finally:
            connection.invalidate()
            connection.close()


def waits_for_the_client(database: Database, pid: int) -> bool:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE pid = :pid AND state = 'active' AND wait_event_type = 'Client'"
    )
    return bool(database.read(lambda session: session.scalar(waiting, {"pid": pid})))
