"""A pool process ends while it holds several short jobs: each of them still takes effect once.

Those that had not begun lose no attempt, and start again at once.
"""

from datetime import datetime, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any
from uuid import UUID

import pytest

from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.settings import Settings
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.failpoints import Action, Moment
from tests.support import stored
from tests.support.servers import RedisServer
from tests.support.stub_executor import Behaviour

pytestmark = pytest.mark.faults

DEFAULTS: dict[str, Any] = {
    name: Settings.model_fields[name].default
    for name in ("lease_s", "heartbeat_s", "reconcile_s", "cancel_poll_s")
}
QUICK: dict[str, Any] = {"executor": "tests.support.stub_executor:QuickExecutor"}
JOBS, CHOSEN = 60, 24  # a process that claims 1, 2, 4, 8, 16 has several when it comes to the chosen one


def submit_quick(cluster: Cluster, **chosen: Any) -> list[UUID]:
    """Submit jobs of 1 ms before a worker is there, so that it finds them all; return their ids."""
    of_others: dict[str, Any] = {"epochs": 1, "train_size": 1}
    specs = [{**of_others, "seed": number} for number in range(JOBS)]
    specs[CHOSEN] |= chosen
    return [cluster.submit(send=False, **spec) for spec in specs]


def start_worker(cluster: Cluster) -> float:
    """Start a worker with one slot; return how long that took, which measures the load of this machine."""
    started_at = monotonic()
    cluster.worker()
    return monotonic() - started_at


def outcomes(cluster: Cluster, job_ids: list[UUID]) -> dict[UUID, list[str | None]]:
    """Return how the attempts at each job ended, in order."""
    return {
        job_id: [attempt.outcome for attempt in stored.attempts(cluster.database, job_id)]
        for job_id in job_ids
    }


def counted(cluster: Cluster, job_ids: list[UUID]) -> list[UUID]:
    """Return the jobs that count a lost attempt, or have one."""
    return [id_ for id_ in job_ids if cluster.lost(id_) or cluster.job(id_).lost_attempts]


def times(cluster: Cluster, job_id: UUID, *types: EventType) -> list[datetime]:
    """Return when events of these types happened to a job, in order."""
    return [event.at for event in cluster.events(job_id) if event.type in types]


def waits(cluster: Cluster, job_id: UUID) -> list[float]:
    """Return for how many seconds a job that was put back waited for its next claim, each time."""
    events = pairwise(cluster.events(job_id))
    return [(then.at - event.at).total_seconds() for event, then in events if event.type == "released"]


def put_back(ended: dict[UUID, list[str | None]]) -> list[UUID]:
    """Return the jobs whose first attempt counted for nothing."""
    return [job_id for job_id, of_job in ended.items() if of_job[0] == AttemptOutcome.RELEASED]


@pytest.mark.parametrize("moment", list(Moment))
def test_a_kill_at_the_report_of_several_jobs_loses_none_that_had_not_begun(
    new_cluster: NewCluster, redis: RedisServer, database_url: str, moment: Moment
) -> None:
    with new_cluster(database_url, redis.url, **DEFAULTS, **QUICK) as cluster:
        job_ids = submit_quick(cluster)
        failpoint = cluster.arm("succeeded", moment, job_id=job_ids[CHOSEN])
        start_s = start_worker(cluster)
        failpoint.wait()
        cluster.wait_for_all(timeout=cluster.settings.lease_s - 1)
        ended = outcomes(cluster, job_ids)
        again = put_back(ended)
        assert len(again) > 1, "it was no report of several jobs"
        assert {len(of_job) for of_job in ended.values()} == {1, 2}
        assert max(wait for job_id in again for wait in waits(cluster, job_id)) < max(3.0, start_s)
        # before the commit, the last one of them had begun
        assert len(counted(cluster, job_ids)) == (1 if moment is Moment.BEFORE else 0)
        assert counted(cluster, again) == []
        tries = len(ended[job_ids[CHOSEN]])
        assert tries == (2 if moment is Moment.BEFORE else 1)


def test_a_job_that_kills_its_process_costs_the_jobs_claimed_with_it_no_attempt(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, **DEFAULTS, **QUICK) as cluster:
        poison = {"seed": Behaviour.KILLS_ITS_PROCESS, "ends": JobState.FAILED}
        job_ids = submit_quick(cluster, **poison)
        killer = job_ids[CHOSEN]
        start_s = start_worker(cluster)
        cluster.wait_for_all()
        ended = outcomes(cluster, job_ids)
        assert ended[killer] == [AttemptOutcome.LOST] * cluster.settings.max_lost_attempts
        again = put_back(ended)
        assert len(again) > 1, "it was claimed alone"
        assert counted(cluster, job_ids) == [killer]
        # later ones of them wait while it kills two more processes
        assert min(wait for job_id in again for wait in waits(cluster, job_id)) < max(3.0, start_s)


def test_a_killed_worker_loses_no_first_attempt_of_jobs_claimed_together(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, **QUICK) as cluster:
        job_ids = submit_quick(cluster)
        failpoint = cluster.arm("succeeded", Moment.BEFORE, Action.KILL_WORKER, job_id=job_ids[CHOSEN])
        cluster.start_worker()
        failpoint.wait(timeout=60)
        cluster.worker()
        cluster.wait_for_all()
        again = put_back(outcomes(cluster, job_ids))
        assert len(again) > 1, "it was no report of several jobs"
        assert counted(cluster, job_ids) == []


def test_a_long_job_holds_up_none_that_was_claimed_with_it(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, **DEFAULTS, **QUICK) as cluster:
        job_ids = submit_quick(cluster, train_size=4000)  # 4 s at least
        cluster.start_worker()
        long = job_ids[CHOSEN]
        cluster.wait_for(long, JobState.RUNNING, timeout=60)
        cluster.worker()
        cluster.wait_for_all()
        [claimed] = times(cluster, long, EventType.CLAIMED)
        # PostgreSQL's clock goes on while a statement runs; what else began as near to it has ended by then
        first_claims = {id_: times(cluster, id_, EventType.CLAIMED)[0] for id_ in job_ids}
        with_it = [id_ for id_, at in first_claims.items() if abs(at - claimed) < timedelta(seconds=0.01)]
        assert len(with_it) > 1, "it was claimed alone"
        with_it.remove(long)
        ends = [times(cluster, id_, EventType.RELEASED, EventType.SUCCEEDED)[0] for id_ in with_it]
        assert max(end - claimed for end in ends) < timedelta(seconds=1.5)
        assert counted(cluster, job_ids) == []
