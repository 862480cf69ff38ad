"""A worker that drains loses no hint, and a paused queue starts nothing."""

from functools import partial

import pytest
from sqlalchemy import select

from shared.db.tables import Attempt, Worker
from shared.lifecycle import JobState
from shared.store import queues, workers
from tests.faults.cluster import Cluster
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.kills]


def _workers(cluster: Cluster) -> list[str]:
    online = select(Worker.id).where(Worker.state == "online").order_by(Worker.started_at)
    return list(cluster.database.read(lambda session: session.scalars(online).all()))


def _ran(cluster: Cluster) -> set[str]:
    return set(cluster.database.read(lambda session: session.scalars(select(Attempt.worker)).all()))


def test_jobs_go_to_others_while_a_worker_drains_and_to_it_again_afterwards(cluster: Cluster) -> None:
    cluster.workers(2)
    drained, other = wait_until(
        lambda: found if len(found := _workers(cluster)) == 2 else None, "both are online"
    )
    cluster.database.write(partial(workers.drain, worker=drained))
    first = [cluster.submit(epochs=1) for _ in range(6)]
    for job_id in first:
        cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert _ran(cluster) == {other}

    cluster.database.write(partial(workers.undrain, worker=drained))
    cluster.database.write(partial(workers.drain, worker=other))
    cluster.wait_for(cluster.submit(epochs=1), JobState.SUCCEEDED)
    assert _ran(cluster) == {drained, other}


def test_a_paused_queue_starts_nothing_and_goes_on_when_it_is_resumed(sqlite_cluster: Cluster) -> None:
    cluster = sqlite_cluster
    cluster.workers(1)
    running = cluster.submit(epochs=2)
    cluster.wait_for_attempt(running, 1)
    cluster.database.write(partial(queues.pause, queue="default"))
    waiting = cluster.submit(epochs=1)
    cluster.wait_for(running, JobState.SUCCEEDED)
    assert cluster.job(waiting).state == JobState.QUEUED
    cluster.database.write(partial(queues.resume, queue="default"))
    cluster.wait_for(waiting, JobState.SUCCEEDED)
