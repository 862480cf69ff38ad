"""Concurrent reconcilers, and workers that resume after their lease expired, change a job once."""

from signal import SIGCONT

import pytest

from shared.lifecycle import EventType, JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.failpoints import Action, Moment
from tests.faults.programs import pass_seconds
from tests.support.servers import RedisServer

pytestmark = pytest.mark.faults


def test_concurrent_reconcilers_reap_a_job_once(cluster: Cluster) -> None:
    cluster.workers(3)
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 1)
    failpoint = cluster.arm("lease_expired", Moment.BEFORE, Action.HOLD)
    cluster.owner(job_id).kill_all()
    failpoint.wait()
    failpoint.release()
    ended = cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert (ended.attempt, cluster.lost(ended.id)) == (2, 1)


def test_reconciler_suspended_during_a_reap_does_not_repeat_it(cluster: Cluster) -> None:
    workers = cluster.workers(3)
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 1)
    failpoint = cluster.arm("lease_expired", Moment.AFTER, Action.STOP)
    victim = cluster.owner(job_id)
    victim.kill_all()
    pid = failpoint.wait()
    cluster.wait_for(job_id, JobState.SUCCEEDED)
    [suspended] = [worker for worker in workers if worker.pid == pid]
    suspended.send(SIGCONT)
    cluster.wait_for(cluster.submit(), JobState.SUCCEEDED)
    assert cluster.count(job_id, EventType.LEASE_EXPIRED) == 1


def test_one_worker_without_any_api_recovers_the_jobs_of_lost_workers(cluster: Cluster) -> None:
    survivor, *victims = cluster.workers(3)
    job_ids = [cluster.submit() for _ in range(5)]
    for job_id in job_ids[:3]:
        cluster.wait_for_attempt(job_id, 1)
    for victim in victims:
        victim.kill_all()
    cluster.wait_for_all()
    assert survivor.code is None


def test_report_that_races_a_reap_wins_if_it_is_first(cluster: Cluster) -> None:
    cluster.workers(2)
    failpoint = cluster.arm("succeeded", Moment.BEFORE, Action.HOLD)
    job_id = cluster.submit()
    failpoint.wait()
    pass_seconds(cluster.settings.lease_s)
    failpoint.release()
    ended = cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert (ended.attempt, cluster.lost(ended.id)) == (1, 0)


def test_report_that_races_a_reap_loses_if_it_is_later(cluster: Cluster) -> None:
    cluster.workers(2)
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 2)
    suspended = cluster.owner(job_id)
    failpoint = cluster.arm("lease_expired", Moment.BEFORE, Action.HOLD)
    cluster.suspend(suspended)
    failpoint.wait()
    suspended.send_all(SIGCONT)
    pass_seconds(cluster.settings.lease_s)
    failpoint.release()
    ended = cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert (ended.attempt, cluster.lost(ended.id)) == (2, 1)


def test_renewal_that_races_a_reap_wins_if_it_is_first(
    new_cluster: NewCluster, redis: RedisServer, postgresql_url: str
) -> None:
    # the reaper sees the expired lease while the renewal holds the lock on the row
    with new_cluster(postgresql_url, redis.url) as cluster:
        cluster.workers(2)
        job_id = cluster.submit(epochs=10)
        failpoint = cluster.arm("renewed", Moment.BEFORE, Action.HOLD)
        failpoint.wait()
        pass_seconds(cluster.settings.lease_s + 2 * cluster.settings.reconcile_s)
        failpoint.release()
        ended = cluster.wait_for(job_id, JobState.SUCCEEDED)
        assert (ended.attempt, cluster.lost(ended.id)) == (1, 0)
