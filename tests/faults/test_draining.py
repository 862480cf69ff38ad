"""A draining worker loses no message, and no job of a paused queue is started."""

import pytest

from shared.lifecycle import JobState, WorkerState
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE
from tests.support import registry, stored
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults


def _online_workers(cluster: Cluster) -> list[str]:
    rows = sorted(stored.worker_rows(cluster.database), key=lambda row: row.started_at)
    return [row.id for row in rows if row.state == WorkerState.ONLINE]


def _workers_of_attempts(cluster: Cluster) -> set[str]:
    jobs = stored.job_ids(cluster.database)
    return {attempt.worker for job_id in jobs for attempt in stored.attempts(cluster.database, job_id)}


@KILLS_ON_SQLITE
def test_jobs_run_on_other_workers_while_one_drains_and_on_it_again_afterwards(cluster: Cluster) -> None:
    cluster.workers(2)
    drained, other = wait_until(
        lambda: ids if len(ids := _online_workers(cluster)) == 2 else None, "both are online"
    )
    registry.drain(cluster.database, drained)
    first = [cluster.submit(epochs=1) for _ in range(6)]
    for job_id in first:
        cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert _workers_of_attempts(cluster) == {other}

    registry.undrain(cluster.database, drained)
    registry.drain(cluster.database, other)
    cluster.wait_for(cluster.submit(epochs=1), JobState.SUCCEEDED)
    assert _workers_of_attempts(cluster) == {drained, other}


@pytest.mark.kills
def test_no_job_of_a_paused_queue_is_started_until_the_queue_is_resumed(sqlite_cluster: Cluster) -> None:
    cluster = sqlite_cluster
    cluster.workers(1)
    running = cluster.submit(epochs=20)
    cluster.wait_for_attempt(running, 1)
    registry.pause(cluster.database, "default")
    waiting = cluster.submit(epochs=1)
    cluster.wait_for(running, JobState.SUCCEEDED)
    assert cluster.job(waiting).state == JobState.QUEUED
    registry.resume(cluster.database, "default")
    cluster.wait_for(waiting, JobState.SUCCEEDED)
