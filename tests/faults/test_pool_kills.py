"""A pool process is killed: its parent takes the job from it at once, and says how the process ended."""

from signal import SIGKILL, SIGSEGV, Signals
from time import monotonic
from typing import Any

import psutil
import pytest

from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.settings import Settings
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.failpoints import Action, Moment
from tests.support import stored
from tests.support.servers import RedisServer
from tests.support.stored import Attempt
from tests.support.stub_executor import Behaviour
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

DEFAULTS: dict[str, Any] = {
    name: Settings.model_fields[name].default
    for name in ("lease_s", "heartbeat_s", "reconcile_s", "cancel_poll_s")
}


def start_worker(cluster: Cluster) -> float:
    """Start a worker with one slot; return how long that took, which measures the load of this machine."""
    started_at = monotonic()
    cluster.worker()
    return monotonic() - started_at


def only_process(cluster: Cluster) -> psutil.Process:
    [program] = cluster.programs
    [process] = program.pool()
    return process


def first_attempt(cluster: Cluster) -> Attempt:
    [job_id] = cluster.expected
    return stored.attempt(cluster.database, job_id, 1)


def test_job_of_a_killed_pool_process_runs_again_within_3_s_at_the_default_settings(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, **DEFAULTS) as cluster:
        start_s = start_worker(cluster)
        job_id = cluster.submit()
        cluster.wait_for_epoch(job_id, 1)
        pid = only_process(cluster).pid
        only_process(cluster).kill()
        killed_at = monotonic()
        wait_until(lambda: cluster.job(job_id).state == JobState.QUEUED, "it waits again", timeout=2)
        cluster.wait_for_attempt(job_id, 2)
        # nearly all of it is the start of another process; a loaded machine gets the time of a worker's start
        assert monotonic() - killed_at < max(3.0, start_s)
        ended = cluster.wait_for(job_id, JobState.SUCCEEDED)
        assert (ended.attempt, cluster.lost(ended.id)) == (2, 1)
        lost = first_attempt(cluster)
        message = f"pool process {pid} was killed by signal 9 (out of memory?)"
        assert (lost.outcome, lost.error_code, lost.error_message) == (
            AttemptOutcome.LOST,
            "worker_lost",
            message,
        )
        [event] = [e for e in cluster.events(job_id) if e.type == EventType.LEASE_EXPIRED]
        assert event.data == {"code": "worker_lost", "message": message}
        lines = stored.log_lines(cluster.database, job_id)
        assert [line.attempt for line in lines if message in line.message] == [1]


@pytest.mark.parametrize(
    ("number", "how"),
    [(SIGKILL, "killed by signal 9 (out of memory?)"), (SIGSEGV, "killed by signal 11 (SIGSEGV)")],
)
def test_the_attempt_names_the_signal(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str, number: Signals, how: str
) -> None:
    with new_cluster(sqlite_url, redis.url, **DEFAULTS) as cluster:
        cluster.worker()
        job_id = cluster.submit()
        cluster.wait_for_epoch(job_id, 1)
        only_process(cluster).send_signal(number)
        wait_until(lambda: first_attempt(cluster).outcome, "the attempt has ended")
        assert str(first_attempt(cluster).error_message).endswith(how)


@pytest.mark.kills
def test_a_pool_process_gives_way_to_the_other_processes_of_its_host(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url) as cluster:
        cluster.worker()
        process = only_process(cluster)
        assert process.nice() > psutil.Process(process.ppid()).nice()


def test_no_more_slots_are_shown_as_busy_than_there_are(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url, **DEFAULTS) as cluster:
        cluster.worker()
        first, second = cluster.submit(), cluster.submit()
        cluster.wait_for_epoch(first, 1)
        only_process(cluster).kill()
        shown = set()

        def ended() -> bool:
            [worker] = stored.workers_shown(cluster.database)
            shown.add(worker.busy_slots)
            return all(cluster.job(job_id).state == JobState.SUCCEEDED for job_id in (first, second))

        wait_until(ended, "both jobs have ended", timeout=40)
        assert shown <= {0, 1}


def test_job_that_kills_its_processes_fails_without_waiting_for_leases(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url, **DEFAULTS) as cluster:
        cluster.worker()
        poison = cluster.submit(seed=Behaviour.KILLS_ITS_PROCESS, ends=JobState.FAILED)
        # three starts of a process; three leases would be 90 s
        ended = cluster.wait_for(poison, JobState.FAILED, timeout=60)
        assert (ended.attempt, ended.lost_attempts, ended.error_code) == (3, 3, "worker_lost")
        assert "killed by signal 9" in str(ended.error_message)


def test_a_job_that_goes_on_after_each_kill_survives_more_of_them_than_max_lost_attempts(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, max_lost_attempts=2) as cluster:
        cluster.worker()
        job_id = cluster.submit(epochs=10)
        for kill in (1, 2, 3):
            cluster.wait_for_epoch(job_id, 2 * kill, timeout=60)
            only_process(cluster).kill()
            cluster.wait_for_attempt(job_id, kill + 1)
        ended = cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=60)
        assert (ended.attempt, ended.lost_attempts, cluster.lost(job_id)) == (4, 0, 3)


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("transaction", ["claimed", "succeeded"])
def test_a_kill_at_the_first_or_last_commit_leaves_the_job_to_the_next_attempt_or_ended(
    new_cluster: NewCluster, redis: RedisServer, database_url: str, transaction: str, moment: Moment
) -> None:
    with new_cluster(database_url, redis.url, **DEFAULTS) as cluster:
        cluster.worker()
        cluster.arm(transaction, moment, Action.KILL)
        job_id = cluster.submit()
        ended = cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=cluster.settings.lease_s - 1)
        survived = (transaction, moment) in {("claimed", Moment.BEFORE), ("succeeded", Moment.AFTER)}
        assert (ended.attempt, cluster.lost(ended.id)) == ((1, 0) if survived else (2, 1))


def test_the_job_log_has_what_a_process_printed_before_it_aborted(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url, **DEFAULTS, max_lost_attempts=1) as cluster:
        worker = cluster.start_worker()
        cluster.wait_until_ready(worker)
        job_id = cluster.submit(seed=Behaviour.ABORTS, ends=JobState.FAILED)
        cluster.wait_for(job_id, JobState.FAILED)
        lines = stored.log_lines(cluster.database, job_id)
        last = lines[-1].message
        assert "was killed by signal 6 (SIGABRT); its last output:" in last
        assert "Check failed: it did not work" in last
        assert "Fatal Python error: Aborted" in last
        assert "in _misbehave" in last
        assert worker.logged("Check failed: it did not work") > 0
