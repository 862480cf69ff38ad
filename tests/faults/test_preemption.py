"""Urgent jobs get the slots of running ones, whatever is killed; all end as in their golden runs."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.schemas import Priority
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE, NewCluster
from tests.faults.failpoints import Moment
from tests.support import stored
from tests.support.servers import RedisServer

pytestmark = pytest.mark.faults

_URGENT = {"priority": Priority.URGENT}


def _long(cluster: Cluster, epochs: int = 20, **options: Priority) -> UUID:
    """Submit a job whose epochs take half a second, and wait until it runs."""
    job_id = cluster.submit(epochs=epochs, train_size=500, batch_size=10, options=options)
    cluster.wait_for_epoch(job_id, 1)
    return job_id


def _outcomes(cluster: Cluster, job_id: UUID) -> list[str | None]:
    return [attempt.outcome for attempt in stored.attempts(cluster.database, job_id)]


@KILLS_ON_SQLITE
def test_an_urgent_job_starts_within_an_epoch_although_all_slots_are_busy(cluster: Cluster) -> None:
    cluster.worker(slots=2)
    jobs = [_long(cluster, priority=Priority.HIGH), _long(cluster)]
    urgent = cluster.submit(epochs=1, options=_URGENT)
    started = cluster.wait_for(urgent, JobState.RUNNING, JobState.SUCCEEDED)
    assert started.started_at is not None
    told = [event.data for event in cluster.events(jobs[1]) if event.type == EventType.PROGRESS]
    epochs = [datetime.fromisoformat(epoch["at"]) for data in told for epoch in data["epochs"]]
    ended_since_the_submission = [at for at in epochs if started.created_at < at < started.started_at]
    assert len(ended_since_the_submission) <= 1
    assert [cluster.count(job_id, EventType.RELEASED) for job_id in jobs] == [0, 1]
    cluster.wait_for(urgent, JobState.SUCCEEDED)
    for job_id in jobs:
        cluster.cancel(job_id)


@pytest.mark.parametrize("moment", Moment)
def test_a_process_that_is_killed_while_its_job_is_preempted_loses_neither_job(
    moment: Moment, cluster: Cluster
) -> None:
    cluster.worker()
    victim = _long(cluster, epochs=6)
    failpoint = cluster.arm("released", moment)
    urgent = cluster.submit(epochs=2, options=_URGENT)
    failpoint.wait()
    cluster.wait_for(urgent, JobState.SUCCEEDED)
    cluster.wait_for(victim, JobState.SUCCEEDED)
    # after the commit the urgent job is claimed and has not begun: it has lost no attempt
    assert [_outcomes(cluster, job_id).count(AttemptOutcome.LOST) for job_id in (victim, urgent)] == [
        int(moment is Moment.BEFORE),
        0,
    ]


def test_an_urgent_job_whose_victim_was_killed_with_its_worker_starts(sqlite_cluster: Cluster) -> None:
    worker = sqlite_cluster.worker()
    victim = _long(sqlite_cluster, epochs=6)
    failpoint = sqlite_cluster.arm("released", Moment.BEFORE)
    urgent = sqlite_cluster.submit(epochs=2, options=_URGENT)
    failpoint.wait()
    worker.kill_all()
    sqlite_cluster.worker()
    for job_id in (urgent, victim):
        sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)


def test_a_stream_of_urgent_jobs_leaves_the_victim_its_time(
    redis: RedisServer, sqlite_url: str, new_cluster: NewCluster
) -> None:
    with new_cluster(sqlite_url, redis.url, min_run_s=1.5) as cluster:
        cluster.worker()
        victim = _long(cluster, epochs=6)
        while cluster.job(victim).state != JobState.SUCCEEDED:
            cluster.wait_for(cluster.submit(epochs=1, options=_URGENT), JobState.SUCCEEDED)
        first, *later = stored.attempts(cluster.database, victim)
        assert first.outcome == AttemptOutcome.RELEASED
        for attempt in later:
            assert attempt.finished_at is not None
            ran = attempt.finished_at - attempt.started_at
            assert attempt.outcome == AttemptOutcome.SUCCEEDED or ran >= timedelta(seconds=1.5)
