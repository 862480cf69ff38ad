"""However many jobs wait or were cancelled, the next one starts, and a lost one is recovered, in time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from shared.lifecycle import EventType, JobState
from shared.schemas import Priority
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.programs import pass_seconds, training
from tests.faults.proxy import Proxy
from tests.support import queue_driver, registry, stored
from tests.support.factories import make_new_job
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

LIST = "default"
WAITING = 1_000
CANCELLED = 2_000
RECONCILE_S = 2.0
# a round of the reconciler, a message and a claim, while other tests use the processors too
SLACK_S = 2.0

_EPOCHS = 1_000  # of a job that runs until it is cancelled
_BATCH = 500  # jobs that are cancelled by one transaction


def submit_without_messages(
    cluster: Cluster, count: int = 1, priority: Priority = Priority.NORMAL
) -> Sequence[UUID]:
    """Submit jobs that run until they are cancelled, in one transaction; nothing wakes a worker up."""
    spec = training(epochs=_EPOCHS)
    new = [make_new_job(spec=spec, priority=priority) for _ in range(count)]
    queue_driver.submit_all(cluster.database, new)
    cluster.expected.update((job.id, JobState.CANCELLED) for job in new)
    return [job.id for job in new]


def cancel_all(cluster: Cluster, job_ids: Sequence[UUID]) -> None:
    for start in range(0, len(job_ids), _BATCH):
        queue_driver.cancel(cluster.database, *job_ids[start : start + _BATCH])


def end_all(cluster: Cluster) -> None:
    """Cancel the jobs that have run, and delete the others: to cancel and verify each takes long."""
    for job_id in stored.delete_unstarted(cluster.database):
        del cluster.expected[job_id]
    cancel_all(cluster, stored.job_ids(cluster.database, JobState.QUEUED, JobState.RUNNING))


def submit_behind_cancelled_jobs(cluster: Cluster) -> UUID:
    """Submit a job that is next; before it thousands were cancelled, and behind it a thousand wait."""
    cancel_all(cluster, submit_without_messages(cluster, CANCELLED, Priority.HIGH))
    submit_without_messages(cluster, WAITING)
    return submit_without_messages(cluster, priority=Priority.HIGH)[0]


def started_at(cluster: Cluster, job_id: UUID) -> datetime:
    """Wait until a job has started; return when, by the database's clock."""
    moment = cluster.wait_for_attempt(job_id, 1).started_at
    assert moment is not None
    return moment


def bound(cluster: Cluster) -> timedelta:
    """Return how long after a slot became free the next job must have started."""
    return timedelta(seconds=cluster.settings.reconcile_s + SLACK_S)


def test_the_next_job_starts_within_a_round_on_a_slot_that_nothing_wakes_up(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, reconcile_s=RECONCILE_S) as cluster:
        # while the queue is paused, both slots stay free
        registry.pause(cluster.database, LIST)
        lost = submit_behind_cancelled_jobs(cluster)
        cluster.worker(slots=2)
        with redis.client() as client:
            assert client.llen(LIST) == 0
        registry.resume(cluster.database, LIST)
        free_since = cluster.now()
        assert started_at(cluster, lost) - free_since < bound(cluster)
        end_all(cluster)


def test_the_next_job_starts_within_a_round_on_a_slot_that_becomes_free(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, reconcile_s=RECONCILE_S) as cluster:
        running = submit_without_messages(cluster, 2, Priority.HIGH)
        lost = submit_behind_cancelled_jobs(cluster)
        cluster.workers(2)
        for job_id in running:
            cluster.wait_for_attempt(job_id, 1)
        with redis.client() as client:
            client.delete(LIST)
        cluster.wake(100)  # messages of the cancelled jobs
        cluster.cancel(running[0])
        free_since = cluster.wait_for(running[0], JobState.CANCELLED).finished_at
        assert free_since is not None
        assert started_at(cluster, lost) - free_since < bound(cluster)
        end_all(cluster)


def test_a_lost_job_is_recovered_in_time_while_redis_is_slow(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with (
        Proxy(redis.socket, delay_s=0.02) as proxy,
        new_cluster(sqlite_url, f"redis://127.0.0.1:{proxy.port}/0", lease_s=4.0) as cluster,
    ):
        settings = cluster.settings
        cluster.workers(2)
        [job_id] = submit_without_messages(cluster)
        cluster.wait_for_attempt(job_id, 1)
        submit_without_messages(cluster, 4_000)
        pass_seconds(settings.lease_s)  # no reconciler reaps before it has observed for a lease
        cluster.owner(job_id).kill_all()
        wait_until(
            lambda: cluster.count(job_id, EventType.LEASE_EXPIRED) == 1,
            "the lost job is reaped",
            timeout=settings.lease_s + settings.reconcile_s + SLACK_S,
        )
        end_all(cluster)
