"""A pool process in which nothing runs is ended by its parent, with what it has started; its slot is free."""

import json
from collections.abc import Iterator
from signal import SIGSTOP, SIGTERM
from time import monotonic
from typing import Any
from uuid import UUID

import psutil
import pytest

from shared.lifecycle import AttemptOutcome, JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE, NewCluster
from tests.faults.programs import Api, Program, pass_seconds
from tests.support import stored
from tests.support.databases import migrate
from tests.support.servers import PostgresServer, RedisServer, running_postgres
from tests.support.stub_executor import Behaviour, SlowToStart
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

GRACE_S = 5.0  # beyond the lease, as docs/architecture.md states
MARGIN_S = 4.0  # of a busy machine
STOP_S = 10.0
LONG = 1_000


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may stop, with an empty database."""
    with running_postgres() as server:
        server.execute("CREATE DATABASE silence")
        migrate(server.url("silence"))
        yield server


def ended_lines(worker: Program) -> list[dict[str, Any]]:
    """Return the lines of a worker's log that tell of processes that it has ended."""
    lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if "was ended" in line["event"] and line["logger"] == "workers.pool_watch"]


def busy_slots(api: Api) -> int:
    [worker] = [each for each in api.get("workers")["data"] if each["state"] == "online"]
    busy: int = worker["busy_slots"]
    return busy


def assert_slot_is_free(cluster: Cluster, worker: Program, pid: int, job_id: UUID) -> None:
    """Assert that a process ends in time, that all logs say why, and that the next job runs in its slot."""
    lease_s = cluster.settings.lease_s
    started_at = monotonic()
    wait_until(lambda: not psutil.pid_exists(pid), "the process has ended", timeout=60)
    assert monotonic() - started_at < lease_s + GRACE_S + MARGIN_S
    [line] = ended_lines(worker)
    assert (line["level"], line["pid"], line["attempt"]) == ("error", pid, f"attempt 1 at job {job_id}")
    reason = line["event"]
    assert reason.startswith(f"pool process {pid} was ended, because it has not run for")
    wait_until(lambda: stored.attempt(cluster.database, job_id, 1).outcome, "the attempt has ended")
    assert stored.attempt(cluster.database, job_id, 1).outcome == AttemptOutcome.LOST

    def told() -> list[int]:
        lines = stored.log_lines(cluster.database, job_id)
        return [line.attempt for line in lines if "has not run for" in line.message]

    wait_until(told, "the job's log says why")
    assert told() == [1]
    cluster.wait_for(cluster.submit(epochs=1), JobState.SUCCEEDED)
    assert busy_slots(cluster.api()) == 0


def test_a_step_that_holds_python_frees_its_slot(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, max_lost_attempts=1) as cluster:
        worker = cluster.worker()
        [process] = worker.pool()
        job_id = cluster.submit(seed=Behaviour.HOLDS_PYTHON, ends=JobState.FAILED)
        cluster.wait_for_attempt(job_id, 1)
        assert_slot_is_free(cluster, worker, process.pid, job_id)
        assert cluster.wait_for(job_id, JobState.FAILED).error_code == "worker_lost"


def test_a_stopped_process_frees_its_slot(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url) as cluster:
        worker = cluster.worker()
        [process] = worker.pool()
        job_id = cluster.submit(epochs=4)
        cluster.wait_for_epoch(job_id, 1)
        process.send_signal(SIGSTOP)
        assert_slot_is_free(cluster, worker, process.pid, job_id)
        cluster.wait_for(job_id, JobState.SUCCEEDED)
        assert cluster.lost(job_id) == 1


def test_a_stopped_process_that_runs_no_job_is_replaced(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url) as cluster:
        worker = cluster.worker()
        [process] = worker.pool()
        process.send_signal(SIGSTOP)
        cluster.wait_for(cluster.submit(epochs=1), JobState.SUCCEEDED)
        [line] = ended_lines(worker)
        assert (line["pid"], line["attempt"]) == (process.pid, None)


def test_a_process_that_waits_for_the_database_is_not_ended(
    new_cluster: NewCluster, redis: RedisServer, own_postgres: PostgresServer
) -> None:
    with new_cluster(own_postgres.url("silence"), redis.url) as cluster:
        worker = cluster.worker()
        [process] = worker.pool()
        job_id = cluster.submit()
        cluster.wait_for_epoch(job_id, 1)
        own_postgres.stop()
        pass_seconds(cluster.settings.lease_s + GRACE_S + MARGIN_S)
        own_postgres.start()
        cluster.wait_for(job_id, JobState.SUCCEEDED)
        assert cluster.lost(job_id) == 0
        assert ended_lines(worker) == []
        assert process.is_running()


@KILLS_ON_SQLITE
def test_what_a_killed_process_has_started_ends_with_it(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, max_lost_attempts=1) as cluster:
        cluster.worker()
        job_id = cluster.submit(seed=Behaviour.LEAVES_CHILDREN, ends=JobState.FAILED)
        cluster.wait_for(job_id, JobState.FAILED)
        wait_until(lambda: not sleepers(cluster), "its child has ended")


def sleepers(cluster: Cluster) -> list[psutil.Process]:
    return [process for process in cluster.processes() if process.name() == "sleep"]


@pytest.mark.parametrize("obstacle", [Behaviour.HOLDS_PYTHON, SIGSTOP])
def test_a_worker_whose_process_does_not_run_ends_within_10_s(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str, obstacle: int
) -> None:
    # the lease is far longer than a stop may last
    with new_cluster(sqlite_url, redis.url, lease_s=30.0, heartbeat_s=10.0, max_lost_attempts=1) as cluster:
        worker = cluster.worker()
        [process] = worker.pool()
        job_id = cluster.submit(seed=int(obstacle), epochs=LONG, ends=JobState.FAILED)
        cluster.wait_for_attempt(job_id, 1)
        if obstacle == SIGSTOP:
            process.send_signal(SIGSTOP)
        else:
            wait_until(lambda: worker.logged("attempt 1 started"), "the first step is about to begin")
            pass_seconds(1)
        worker.send(SIGTERM)
        stopped_at = monotonic()
        worker.wait(60)
        assert monotonic() - stopped_at < STOP_S
        assert cluster.wait_for(job_id, JobState.FAILED).error_code == "worker_lost"


@KILLS_ON_SQLITE
@pytest.mark.parametrize("slots", [1, 2])
def test_a_worker_that_warms_up_and_was_woken_up_ends_within_10_s(
    new_cluster: NewCluster, redis: RedisServer, database_url: str, slots: int
) -> None:
    executor = f"{SlowToStart.__module__}:{SlowToStart.__name__}"
    with new_cluster(database_url, redis.url) as cluster:
        worker = cluster.start_worker({"TRAINSHED_EXECUTOR": executor}, slots=slots)
        wait_until(lambda: worker.logged("warming up") == slots, "its processes warm up", timeout=60)
        job_id = cluster.submit()
        cluster.wake(5)
        wait_until(lambda: worker.logged("] received") == slots, "it has as many jobs as slots", timeout=30)
        worker.send(SIGTERM)
        stopped_at = monotonic()
        worker.wait(60)
        assert monotonic() - stopped_at < STOP_S
        assert cluster.job(job_id).attempt == 0
        assert all(json.loads(line) for line in worker.log.read_text().splitlines())
        cluster.worker()
