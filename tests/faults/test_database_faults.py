"""The database stops, drops connections, is locked and is full; no write is lost or applied twice."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM
from threading import Event, Thread
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Checkpoint
from shared.lifecycle import JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.programs import Program, pass_seconds
from tests.faults.proxy import Proxy
from tests.support import queue_driver
from tests.support.databases import migrate
from tests.support.servers import PostgresServer, RedisServer, running_postgres
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def _own_postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def own_postgres(_own_postgres: PostgresServer) -> PostgresServer:
    """A PostgreSQL that a test may stop, with a migrated, empty database."""
    _own_postgres.execute("DROP DATABASE IF EXISTS faults WITH (FORCE)")
    _own_postgres.execute("CREATE DATABASE faults")
    migrate(_own_postgres.url("faults"))
    return _own_postgres


@pytest.mark.kills
def test_short_outage_of_postgresql_costs_no_attempt(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    with new_cluster(own_postgres.url("faults"), redis.url, lease_s=8.0) as cluster:
        cluster.workers(2)
        job_ids = [cluster.submit(epochs=6) for _ in range(2)]
        for job_id in job_ids:
            cluster.wait_for_epoch(job_id, 1)
        own_postgres.stop(SIGQUIT)
        pass_seconds(1.5)
        own_postgres.start()
        for job_id in job_ids:
            assert cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 1


def test_worker_stops_in_time_while_postgresql_is_away_and_its_job_goes_on_later(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    # a worker that does not stop would wait for the database for 20 s
    with new_cluster(own_postgres.url("faults"), redis.url, lease_s=30.0) as cluster:
        workers = cluster.workers(2)
        job_id = cluster.submit(epochs=30)
        cluster.wait_for_epoch(job_id, 1)
        own_postgres.stop(SIGQUIT)
        for worker in workers:
            worker.send(SIGTERM)
        try:
            assert [worker.wait(timeout=15) for worker in workers] == [0, 0]
        finally:
            own_postgres.start()
        cluster.worker()
        assert cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=60).attempt == 2


def test_read_only_postgresql_costs_no_attempt(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    with new_cluster(own_postgres.url("faults"), redis.url, lease_s=12.0) as cluster:
        cluster.workers(2)
        job_ids = [cluster.submit(epochs=6) for _ in range(2)]
        for job_id in job_ids:
            cluster.wait_for_epoch(job_id, 1)
        own_postgres.set_read_only(True)
        pass_seconds(3)
        own_postgres.set_read_only(False)
        for job_id in job_ids:
            assert cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 1


def test_postgresql_that_is_a_standby_for_a_while_costs_no_attempt(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    with new_cluster(own_postgres.url("faults"), redis.url, lease_s=12.0) as cluster:
        cluster.workers(2)
        job_ids = [cluster.submit(epochs=6) for _ in range(2)]
        for job_id in job_ids:
            cluster.wait_for_epoch(job_id, 1)
        own_postgres.demote()
        pass_seconds(2)
        own_postgres.promote()
        for job_id in job_ids:
            assert cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 1


def test_outage_of_postgresql_that_outlasts_the_leases_loses_nothing(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    with new_cluster(own_postgres.url("faults"), redis.url) as cluster:
        workers = cluster.workers(2)
        job_ids = [cluster.submit(epochs=6) for _ in range(4)]
        cluster.wait_for_epoch(job_ids[0], 1)
        own_postgres.stop(SIGQUIT)
        pass_seconds(cluster.settings.lease_s * 2)
        own_postgres.start()
        cluster.wait_for_all()
        assert {cluster.lost(job_id) for job_id in job_ids} == {0}
        assert [worker.code for worker in workers] == [None, None]


def test_worker_that_starts_before_the_database_registers_when_the_database_has_started(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    with new_cluster(own_postgres.url("faults"), redis.url) as cluster:
        own_postgres.stop(SIGINT)
        worker = cluster.start_worker()
        wait_until(lambda: worker.logged("does not answer"), "it cannot work", timeout=30)
        own_postgres.start()
        cluster.wait_until_ready(worker)
        # only the reconciler sends its message
        cluster.submit(send=False)


def test_connections_terminated_repeatedly_duplicate_nothing(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    with new_cluster(own_postgres.url("faults"), redis.url) as cluster:
        cluster.workers(2)
        job_ids = [cluster.submit(epochs=5) for _ in range(4)]
        while not all(cluster.job(job_id).state == JobState.SUCCEEDED for job_id in job_ids):
            own_postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'faults'"
            )
            pass_seconds(0.4)
        assert {cluster.job(job_id).attempt for job_id in job_ids} == {1}


def test_commits_whose_reply_was_lost_are_applied_once(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    commits = iter(range(1_000_000))

    def every_third_commit(data: bytes) -> bool:
        return b"COMMIT" in data and next(commits) % 3 == 2

    with Proxy(own_postgres.socket) as proxy:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/faults"
        with new_cluster(url, redis.url) as cluster:
            cluster.workers(2)
            proxy.cut_replies_to(every_third_commit)
            job_ids = [cluster.submit(epochs=4) for _ in range(4)]
            cluster.wait_for_all()
            proxy.cut_replies_to(lambda _: False)
            assert {cluster.lost(job_id) for job_id in job_ids} == {0}


def test_silently_dropped_database_connection_is_noticed(
    new_cluster: NewCluster, own_postgres: PostgresServer, redis: RedisServer
) -> None:
    with Proxy(own_postgres.socket) as proxy:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/faults"
        with new_cluster(own_postgres.url("faults"), redis.url) as cluster:
            worker = cluster.start_worker({"TRAINSHED_DATABASE_URL": url})
            cluster.wait_until_ready(worker)
            job_id = cluster.submit(epochs=6)
            cluster.wait_for_epoch(job_id, 1)
            proxy.drop_traffic()
            cluster.worker()
            cluster.wait_for_attempt(job_id, 2)
            proxy.pass_new_connections()
            cluster.wait_for(job_id, JobState.SUCCEEDED)
            proxy.close_connections()


def test_sqlite_that_another_program_locks_for_5_s_costs_no_attempt(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str, tmp_path: Path
) -> None:
    with new_cluster(sqlite_url, redis.url, lease_s=12.0) as cluster:
        cluster.workers(2)
        job_ids = [cluster.submit(epochs=6) for _ in range(2)]
        for job_id in job_ids:
            cluster.wait_for_epoch(job_id, 1)
        other = sqlite3.connect(tmp_path / "trainshed.db", isolation_level=None, timeout=30)
        other.execute("BEGIN EXCLUSIVE")
        pass_seconds(5)
        other.execute("COMMIT")
        other.close()
        for job_id in job_ids:
            assert cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 1


def test_writers_and_readers_of_sqlite_do_not_block_each_other(sqlite_cluster: Cluster) -> None:
    sqlite_cluster.workers(2, slots=2)
    job_ids = [sqlite_cluster.submit(epochs=10) for _ in range(12)]
    ended = Event()
    errors: list[Exception] = []

    def read_events() -> None:
        while not ended.is_set():
            try:
                for job_id in job_ids:
                    sqlite_cluster.events(job_id)
            except DBAPIError as error:
                errors.append(error)

    readers = [Thread(target=read_events) for _ in range(3)]
    for reader in readers:
        reader.start()
    sqlite_cluster.wait_for_all()
    ended.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert {sqlite_cluster.job(job_id).attempt for job_id in job_ids} == {1}


def submit_forever(url: str, acknowledged: Connection) -> None:
    """Submit jobs, and send the id of each after its commit."""
    database = Database(url)
    while True:
        acknowledged.send(queue_driver.submit(database))


def killed_writer(context: ForkServerContext, url: str, commits: int, more_s: float) -> Iterator[UUID]:
    """Yield the ids received from a writer that is killed `more_s` after its n-th commit."""
    receiver, sender = context.Pipe(duplex=False)
    writer = context.Process(target=submit_forever, args=[url, sender])
    writer.start()
    sender.close()
    yield from (receiver.recv() for _ in range(commits))
    pass_seconds(more_s)
    writer.kill()
    with suppress(EOFError):
        while True:
            yield receiver.recv()
    writer.join()
    receiver.close()


def test_sqlite_keeps_every_acknowledged_commit_of_a_killed_writer(sqlite_url: str, tmp_path: Path) -> None:
    context = get_context("forkserver")  # its children are forked with every module loaded
    context.set_forkserver_preload([__name__])
    acknowledged: set[UUID] = set()
    for kill in range(200):
        acknowledged |= set(killed_writer(context, sqlite_url, 1 + kill % 7, 0.001 * (kill % 10)))
    connection = sqlite3.connect(tmp_path / "trainshed.db")
    [[verdict]] = connection.execute("PRAGMA integrity_check").fetchall()
    stored = {UUID(bytes=row[0]) for row in connection.execute("SELECT id FROM jobs")}
    connection.close()
    assert verdict == "ok"
    assert acknowledged <= stored
    assert len(acknowledged) >= 800


@pytest.mark.parametrize("damage", ["bit flipped", "truncated", "missing", "of another epoch"])
def test_damaged_checkpoint_is_not_used_and_the_job_starts_over(cluster: Cluster, damage: str) -> None:
    worker = cluster.worker()
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 2)
    worker.kill_all()

    def damage_checkpoint(session: Session) -> None:
        stored = session.get_one(Checkpoint, job_id)
        match damage:
            case "bit flipped":
                stored.state = bytes([stored.state[0] ^ 1]) + stored.state[1:]
            case "truncated":
                stored.state = stored.state[:5]
            case "of another epoch":
                stored.next_epoch -= 1
            case _:
                session.delete(stored)

    cluster.database.write(damage_checkpoint)
    cluster.epochs_may_repeat = True
    cluster.worker()
    ended = cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert (ended.attempt, cluster.lost(ended.id)) == (2, 1)


def test_job_succeeds_after_a_full_disk_has_space_again(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url, max_lost_attempts=100) as cluster:
        worker = cluster.worker()
        job_id = cluster.submit(epochs=8)
        cluster.wait_for_epoch(job_id, 1)
        # writes fail as on a full disk, but only in this process
        size = max(
            Path(f"{sqlite_url.removeprefix('sqlite:///')}{end}").stat().st_size for end in ("", "-wal")
        )
        limit_file_size(worker, size)
        wait_until(lambda: _has_lost_an_outcome(worker), "the attempt's outcome was not written", timeout=30)
        limit_file_size(worker, resource.RLIM_INFINITY)
        cluster.wait_for(job_id, JobState.SUCCEEDED)


def _has_lost_an_outcome(worker: Program) -> bool:
    # while the write was tried again, the job may have been taken from the attempt
    return bool(worker.logged("attempt outcome not written") or worker.logged("its outcome discarded"))


def limit_file_size(worker: Program, size: int) -> None:
    """Limit the size of the files that the worker's pool process writes."""
    resource.prlimit(worker.pool()[0].pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
