"""The table "How losses are detected" of docs/architecture.md: each bound, measured under a burden.

The burden: Redis is 20 ms away, its list always has messages of no use, and jobs are submitted and cancelled
all the time. A bound comes from the settings; `MARGIN_S` is added for that burden and for a busy machine.
Where a process must be started first, its start is not part of the bound.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest

from shared.lifecycle import EventType, JobState, WorkerState
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.programs import Program, pass_seconds, training
from tests.faults.proxy import Proxy
from tests.support import queue_driver, stored
from tests.support.databases import migrate
from tests.support.factories import make_new_job
from tests.support.servers import PostgresServer, RedisServer, running_postgres
from tests.support.stub_executor import Behaviour
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

MARGIN_S = 3.0
REDIS_AWAY_S = 0.02  # each reply takes so long
BURDEN_INTERVAL_S = 0.1
LONG = 1_000  # epochs of a job that does not end by itself within a test

# the numbers of the table that are no settings
NOTICE_POOL_KILL_S = 1.0
TIMEOUT_GRACE_S = 5.0
REDIS_CHECK_S = 15.0
REDIS_MENDED_S = 30.0
CANCEL_S = 2.0


class Burden:
    """Keeps a cluster busy with what must not delay anything, from a thread of its own."""

    def __init__(self, cluster: Cluster, *, messages: bool = True) -> None:
        self._cluster = cluster
        self._messages = messages
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="burden")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(BURDEN_INTERVAL_S):
            new = make_new_job(spec=training())
            self._cluster.expected[new.id] = JobState.CANCELLED
            queue_driver.submit_cancelled(self._cluster.database, new)
            if self._messages:
                queue_driver.wake(self._cluster.broker, new.queue, 3)


NewBurdened = Callable[..., Any]


@pytest.fixture
def new_slow_cluster(redis: RedisServer, new_cluster: NewCluster) -> NewBurdened:
    """Return a factory of clusters on a given database, whose Redis is `REDIS_AWAY_S` away."""

    @contextmanager
    def new(database_url: str, **overrides: Any) -> Iterator[tuple[Cluster, Proxy]]:
        with (
            Proxy(redis.socket, delay_s=REDIS_AWAY_S) as proxy,
            new_cluster(database_url, f"redis://127.0.0.1:{proxy.port}/0", **overrides) as cluster,
        ):
            yield cluster, proxy

    return new


@contextmanager
def within(bound_s: float) -> Iterator[None]:
    """Assert that the block takes no longer than a bound and the margin."""
    started_at = monotonic()
    yield
    assert monotonic() - started_at <= bound_s + MARGIN_S


def observed_for_a_lease(cluster: Cluster) -> None:
    """Wait until the reconcilers may reap: they have seen the database for a lease."""
    pass_seconds(cluster.settings.lease_s + cluster.settings.reconcile_s)


def lost(cluster: Cluster, job_id: Any) -> bool:
    return cluster.count(job_id, EventType.LEASE_EXPIRED) == 1


def state_of(cluster: Cluster, program: Program) -> WorkerState:
    return next(
        worker.state for worker in stored.workers_shown(cluster.database) if worker.pid == program.pid
    )


def test_a_lost_worker_is_noticed_within_a_lease_and_a_round(
    new_slow_cluster: NewBurdened, database_url: str
) -> None:
    with new_slow_cluster(database_url) as (cluster, _), Burden(cluster):
        cluster.workers(2)
        job_id = cluster.submit(epochs=LONG, ends=JobState.CANCELLED)
        cluster.wait_for_epoch(job_id, 1)
        observed_for_a_lease(cluster)
        settings, victim = cluster.settings, cluster.owner(job_id)
        victim.kill_all()
        killed_at = monotonic()
        with within(settings.lease_s + settings.reconcile_s):
            wait_until(lambda: lost(cluster, job_id), "the loss is noticed", timeout=20)
        with within(settings.reconcile_s):
            cluster.wait_for_attempt(job_id, 2)
        wait_until(lambda: state_of(cluster, victim) == WorkerState.LOST, "it is listed as lost", timeout=20)
        assert monotonic() - killed_at <= settings.lease_s + 3 * settings.reconcile_s + MARGIN_S
        cluster.cancel(job_id)


def test_a_killed_pool_process_is_noticed_within_a_second(
    new_slow_cluster: NewBurdened, database_url: str
) -> None:
    with new_slow_cluster(database_url, lease_s=30.0, heartbeat_s=10.0) as (cluster, _), Burden(cluster):
        worker = cluster.worker()
        job_id = cluster.submit(epochs=LONG, ends=JobState.CANCELLED)
        cluster.wait_for_epoch(job_id, 1)
        [process] = worker.pool()
        process.kill()
        with within(NOTICE_POOL_KILL_S):
            wait_until(lambda: lost(cluster, job_id), "the loss is noticed", timeout=20)
        cluster.wait_for_attempt(job_id, 2)
        cluster.cancel(job_id)


def test_a_killed_pool_process_is_noticed_within_a_second_without_redis(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url, lease_s=30.0, heartbeat_s=10.0) as cluster:
        worker = cluster.worker()
        job_id = cluster.submit(epochs=LONG, ends=JobState.CANCELLED)
        cluster.wait_for_epoch(job_id, 1)
        redis.stop()
        [process] = worker.pool()
        process.kill()
        with within(NOTICE_POOL_KILL_S):
            wait_until(lambda: lost(cluster, job_id), "the loss is noticed", timeout=20)
        redis.start()
        cluster.cancel(job_id)


def test_a_lost_message_is_noticed_within_a_round(new_slow_cluster: NewBurdened, database_url: str) -> None:
    # without other messages, each of which would wake the worker up for this job too
    with new_slow_cluster(database_url) as (cluster, _), Burden(cluster, messages=False):
        cluster.worker()
        for _ in range(5):
            job_id = cluster.submit(epochs=1, send=False)
            with within(cluster.settings.reconcile_s):
                wait_until(lambda job_id=job_id: cluster.job(job_id).attempt, "it is claimed", timeout=20)  # type: ignore[misc]


def test_a_silently_lost_connection_to_redis_is_noticed_within_15_s(
    new_slow_cluster: NewBurdened, sqlite_url: str
) -> None:
    with new_slow_cluster(sqlite_url) as (cluster, proxy):
        cluster.worker()
        cluster.wait_for(cluster.submit(epochs=1), JobState.SUCCEEDED)
        proxy.drop_traffic()
        proxy.pass_new_connections()
        with within(REDIS_CHECK_S + cluster.settings.reconcile_s), Burden(cluster):
            job_id = cluster.submit(epochs=1, send=False)
            wait_until(lambda: cluster.job(job_id).attempt, "it is claimed", timeout=40)


def test_a_worker_works_within_30_s_after_redis_was_mended(
    new_slow_cluster: NewBurdened, redis: RedisServer, sqlite_url: str
) -> None:
    with new_slow_cluster(sqlite_url) as (cluster, _), redis.client() as client:
        worker = cluster.worker()
        client.replicaof("127.0.0.1", "1")
        wait_until(lambda: worker.logged("is a read-only replica"), "it says what to do", timeout=40)
        job_id = cluster.submit(epochs=1, send=False)
        pass_seconds(10)
        client.replicaof("NO", "ONE")
        with within(REDIS_MENDED_S), Burden(cluster):
            wait_until(lambda: cluster.job(job_id).attempt, "it is claimed", timeout=60)


@pytest.mark.parametrize("limit", ["no_progress_s", "max_runtime_s"])
def test_a_step_that_never_ends_is_ended_within_its_limit(
    new_slow_cluster: NewBurdened, database_url: str, limit: str
) -> None:
    seconds = 3.0
    overrides = {"no_progress_s": seconds} if limit == "no_progress_s" else {}
    options = {"max_runtime_s": seconds} if limit == "max_runtime_s" else {}
    with new_slow_cluster(database_url, **overrides) as (cluster, _), Burden(cluster):
        cluster.worker()
        job_id = cluster.submit(seed=Behaviour.HANGS, ends=JobState.FAILED, options=options)
        cluster.wait_for_attempt(job_id, 1)
        # the step that hangs is the first of the second epoch
        with within(seconds + (TIMEOUT_GRACE_S if options else 1.0)):
            assert cluster.wait_for(job_id, JobState.FAILED).error_code == "timeout"


def test_a_cancelled_job_ends_within_2_s_and_the_next_one_starts(
    new_slow_cluster: NewBurdened, database_url: str
) -> None:
    with new_slow_cluster(database_url, cancel_poll_s=0.5) as (cluster, _), Burden(cluster):
        cluster.worker()
        running = cluster.submit(epochs=LONG, ends=JobState.CANCELLED)
        cluster.wait_for_epoch(running, 1)
        waiting = cluster.submit(epochs=1)
        with within(CANCEL_S):
            cluster.cancel(running)
            cluster.wait_for(running, JobState.CANCELLED)
            wait_until(lambda: cluster.job(waiting).attempt, "the next job is claimed", timeout=20)


# the database itself


@pytest.fixture(scope="module")
def _own_postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def own_postgres(_own_postgres: PostgresServer) -> PostgresServer:
    """A PostgreSQL that a test may stop, with a migrated, empty database."""
    _own_postgres.execute("DROP DATABASE IF EXISTS liveness WITH (FORCE)")
    _own_postgres.execute("CREATE DATABASE liveness")
    migrate(_own_postgres.url("liveness"))
    return _own_postgres


def test_an_attempt_stops_two_thirds_of_a_lease_after_the_database_and_goes_on_when_it_is_back(
    new_slow_cluster: NewBurdened, own_postgres: PostgresServer
) -> None:
    with new_slow_cluster(own_postgres.url("liveness"), lease_s=6.0) as (cluster, _):
        worker = cluster.worker()
        job_id = cluster.submit(epochs=LONG, ends=JobState.CANCELLED)
        cluster.wait_for_epoch(job_id, 1)
        own_postgres.stop()
        with within(cluster.settings.lease_s * 2 / 3):
            wait_until(lambda: worker.logged("attempt released"), "the attempt stops", timeout=30)
        pass_seconds(cluster.settings.lease_s)
        own_postgres.start()
        with within(cluster.settings.reconcile_s), Burden(cluster):
            wait_until(lambda: cluster.job(job_id).attempt == 2, "the next attempt runs", timeout=30)
        assert cluster.lost(job_id) == 0
        assert stored.attempt(cluster.database, job_id, 1).outcome == "released"
        cluster.cancel(job_id)


def test_a_worker_that_alone_lost_the_database_is_noticed_within_a_lease_and_a_round(
    new_slow_cluster: NewBurdened, own_postgres: PostgresServer
) -> None:
    url = own_postgres.url("liveness")
    with (
        Proxy(own_postgres.socket) as cable,
        new_slow_cluster(url) as (cluster, _),
        Burden(cluster),
    ):
        through_cable = f"postgresql+psycopg://postgres@127.0.0.1:{cable.port}/liveness"
        first = cluster.start_worker({"TRAINSHED_DATABASE_URL": through_cable})
        cluster.wait_until_ready(first)
        job_id = cluster.submit(epochs=LONG, ends=JobState.CANCELLED)
        cluster.wait_for_epoch(job_id, 1)
        cluster.worker()
        observed_for_a_lease(cluster)
        cable.drop_traffic()
        settings = cluster.settings
        with within(settings.lease_s + settings.reconcile_s):
            wait_until(lambda: lost(cluster, job_id), "the loss is noticed", timeout=20)
        cluster.wait_for_attempt(job_id, 2)
        cluster.cancel(job_id)
        cluster.wait_for(job_id, JobState.CANCELLED)
        cable.pass_new_connections()
        cable.close_connections()
