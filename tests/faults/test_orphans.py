"""Pool processes end with their parent, however it ends; their jobs go on elsewhere."""

import os
from signal import SIGCONT, SIGSTOP
from time import monotonic

import psutil
import pytest

from shared.lifecycle import AttemptOutcome, EventType, JobState
from tests.faults.conftest import KILLS_ON_SQLITE, NewCluster
from tests.faults.programs import pass_seconds
from tests.support import stored
from tests.support.servers import RedisServer
from tests.support.stub_executor import Behaviour
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

ENDED_S = 3.0
LONG = 1_000


@KILLS_ON_SQLITE
def test_the_processes_of_a_killed_parent_end_within_3_s_and_the_job_goes_on_elsewhere(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url) as cluster:
        worker = cluster.worker(slots=2)
        job_id = cluster.submit(epochs=6)
        cluster.wait_for_epoch(job_id, 1)
        processes = worker.pool()
        assert len(processes) == 2
        worker.kill()
        killed_at = monotonic()
        wait_until(lambda: not any(map(runs, processes)), "its processes have ended")
        assert monotonic() - killed_at < ENDED_S
        assert cluster.job(job_id).state == JobState.RUNNING
        cluster.worker()
        ended = cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=60)
        assert (ended.attempt, cluster.count(job_id, EventType.LEASE_EXPIRED)) == (2, 1)
        assert stored.attempt(cluster.database, job_id, 1).outcome == AttemptOutcome.LOST


def test_the_processes_of_a_stopped_parent_release_their_job_and_claim_none(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url) as cluster:
        worker = cluster.worker()
        job_id, waiting = cluster.submit(epochs=20), cluster.submit(epochs=1)
        cluster.wait_for_epoch(job_id, 1)
        os.kill(worker.pid, SIGSTOP)
        wait_until(lambda: cluster.job(job_id).state == JobState.QUEUED, "the job is released", timeout=20)
        pass_seconds(cluster.settings.lease_s)
        assert (cluster.job(job_id).attempt, cluster.job(waiting).attempt) == (1, 0)
        os.kill(worker.pid, SIGCONT)
        cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=60)
        cluster.wait_for(waiting, JobState.SUCCEEDED, timeout=60)
        assert cluster.lost(job_id) == 0


def test_a_process_whose_step_hangs_ends_with_its_parent(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url) as cluster:
        worker = cluster.worker()
        job_id = cluster.submit(seed=Behaviour.HANGS, epochs=LONG, ends=JobState.CANCELLED)
        cluster.wait_for_attempt(job_id, 1)
        [process] = worker.pool()
        worker.kill()
        wait_until(lambda: not runs(process), "it has ended", timeout=ENDED_S)
        cluster.cancel(job_id)
        cluster.worker()
        cluster.wait_for(job_id, JobState.CANCELLED)


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; one that nobody has waited for has."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
