"""A draining worker loses no message, and no job of a paused queue is started."""

from functools import partial

import pytest
from sqlalchemy import select

from shared.db.tables import Attempt, Worker
from shared.lifecycle import JobState, WorkerState
from shared.store import queues, workers
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults


def _online_workers(cluster: Cluster) -> list[str]:
    online = select(Worker.id).where(Worker.state == WorkerState.ONLINE).order_by(Worker.started_at)
    return list(cluster.database.read(lambda session: session.scalars(online).all()))


def _workers_of_attempts(cluster: Cluster) -> set[str]:
    return set(cluster.database.read(lambda session: session.scalars(select(Attempt.worker)).all()))


@KILLS_ON_SQLITE
def test_jobs_run_on_other_workers_while_one_drains_and_on_it_again_afterwards(cluster: Cluster) -> None:
    cluster.workers(2)
    drained, other = wait_until(
        lambda: ids if len(ids := _online_workers(cluster)) == 2 else None, "both are online"
    )
    cluster.database.write(partial(workers.drain, worker_id=drained))
    first = [cluster.submit(epochs=1) for _ in range(6)]
    for job_id in first:
        cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert _workers_of_attempts(cluster) == {other}

    cluster.database.write(partial(workers.undrain, worker_id=drained))
    cluster.database.write(partial(workers.drain, worker_id=other))
    cluster.wait_for(cluster.submit(epochs=1), JobState.SUCCEEDED)
    assert _workers_of_attempts(cluster) == {drained, other}


@pytest.mark.kills
def test_no_job_of_a_paused_queue_is_started_until_the_queue_is_resumed(sqlite_cluster: Cluster) -> None:
    cluster = sqlite_cluster
    cluster.workers(1)
    running = cluster.submit(epochs=20)
    cluster.wait_for_attempt(running, 1)
    cluster.database.write(partial(queues.pause, queue="default"))
    waiting = cluster.submit(epochs=1)
    cluster.wait_for(running, JobState.SUCCEEDED)
    assert cluster.job(waiting).state == JobState.QUEUED
    cluster.database.write(partial(queues.resume, queue="default"))
    cluster.wait_for(waiting, JobState.SUCCEEDED)
