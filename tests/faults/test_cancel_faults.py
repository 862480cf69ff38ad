"""A cancel request survives every fault, ends the job once, and does so within 2 s."""

import sys
from signal import SIGTERM
from statistics import quantiles
from time import monotonic

import pytest

from shared.errors import JobAlreadyFinished
from shared.lifecycle import JobState, Phase
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.failpoints import Action, Moment
from tests.support import queue_driver
from tests.support.servers import RedisServer
from tests.support.stub_executor import Behaviour
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults


@pytest.mark.kills
def test_running_and_queued_jobs_are_cancelled(cluster: Cluster) -> None:
    cluster.worker()
    running = cluster.submit(epochs=100)
    queued = cluster.submit()
    cluster.wait_for_epoch(running, 1)
    cluster.cancel(queued)
    assert cluster.job(queued).state == JobState.CANCELLED
    cluster.cancel(running)
    cluster.wait_for(running, JobState.CANCELLED, timeout=2)


def test_cancel_request_survives_the_loss_of_the_worker(cluster: Cluster) -> None:
    worker = cluster.worker()
    job_id = cluster.submit(epochs=100)
    cluster.wait_for_epoch(job_id, 1)
    cluster.suspend(worker)
    cluster.cancel(job_id)
    worker.kill_all()
    assert cluster.job(job_id).state == JobState.RUNNING
    cluster.worker()
    assert cluster.wait_for(job_id, JobState.CANCELLED).attempt == 1


def test_cancel_request_that_races_a_worker_stop_ends_the_job(cluster: Cluster) -> None:
    worker = cluster.worker()
    job_id = cluster.submit(epochs=100)
    cluster.wait_for_epoch(job_id, 1)
    failpoint = cluster.arm("released", Moment.BEFORE, Action.HOLD)
    worker.send(SIGTERM)
    failpoint.wait()
    failpoint.release()
    cluster.cancel(job_id)
    cluster.worker()
    cluster.wait_for(job_id, JobState.CANCELLED)


@pytest.mark.parametrize(
    ("transaction", "nth", "moment"),
    [
        ("claimed", 1, Moment.AFTER),
        ("epochs", 1, Moment.AFTER),
        ("epochs", 4, Moment.AFTER),
        ("phases", 1, Moment.AFTER),
        ("cancelled", 1, Moment.BEFORE),
        ("cancelled", 1, Moment.AFTER),
    ],
)
def test_cancel_request_survives_a_kill_at_each_commit(
    cluster: Cluster, transaction: str, nth: int, moment: Moment
) -> None:
    cluster.worker()
    failpoint = cluster.arm(transaction, moment, Action.KILL, nth=nth)
    job_id = cluster.submit(epochs=100)
    if transaction == "cancelled":
        cluster.wait_for_epoch(job_id, 1)
        cluster.cancel(job_id)
        failpoint.wait()
    else:
        failpoint.wait()
        cluster.cancel(job_id)
    cluster.wait_for(job_id, JobState.CANCELLED)


@pytest.mark.parametrize("moment", list(Moment))
def test_cancel_request_that_races_the_end_of_the_job_has_one_winner(
    new_cluster: NewCluster, redis: RedisServer, postgresql_url: str, moment: Moment
) -> None:
    with new_cluster(postgresql_url, redis.url) as cluster:
        cluster.worker()
        failpoint = cluster.arm("succeeded", moment, Action.HOLD)
        job_id = cluster.submit()
        failpoint.wait()
        if moment == Moment.BEFORE:
            failpoint.release()
        try:
            queue_driver.cancel(cluster.database, job_id)
        except JobAlreadyFinished:
            failpoint.release()
        ended = cluster.wait_for(job_id, JobState.SUCCEEDED, JobState.CANCELLED)
        cluster.expected[job_id] = JobState(ended.state)


def test_cancel_of_a_hung_job_ends_it_and_frees_the_worker(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url, no_progress_s=3.0) as cluster:
        cluster.worker()
        job_id = cluster.submit(seed=Behaviour.HANGS)
        wait_until(lambda: cluster.job(job_id).phase == Phase.TRAINING, "the job trains", timeout=30)
        cluster.cancel(job_id)
        cluster.wait_for(job_id, JobState.CANCELLED, timeout=3)
        cluster.wait_for(cluster.submit(), JobState.SUCCEEDED)


def test_cancels_of_running_jobs_take_less_than_2_s(
    new_cluster: NewCluster,
    redis: RedisServer,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    slots, seconds = 5, []
    with new_cluster(database_url, redis.url, cancel_poll_s=0.5) as cluster:
        cluster.worker(slots=slots)
        for _ in range(50 // slots):
            job_ids = [cluster.submit(epochs=500) for _ in range(slots)]
            for job_id in job_ids:
                cluster.wait_for_epoch(job_id, 1)
            for job_id in job_ids:
                requested_at = monotonic()
                cluster.cancel(job_id)
                cluster.wait_for(job_id, JobState.CANCELLED)
                seconds.append(monotonic() - requested_at)
    percentiles = quantiles(seconds, n=100, method="inclusive")
    with capsys.disabled():
        dialect = database_url.partition(":")[0]
        sys.stdout.write(
            f"\n{len(seconds)} cancels of running jobs, {dialect}: "
            f"p50 {percentiles[49]:.2f} s, p99 {percentiles[98]:.2f} s\n"
        )
    assert percentiles[98] < 2
