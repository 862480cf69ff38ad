"""The end of a job for which thousands wait, in a chain or in a fan, holds nobody up, whoever is killed."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import quantiles
from time import monotonic
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from shared.db.tables import EndedPredecessor, Job, JobDependency, JobEvent
from shared.lifecycle import TERMINAL, JobState
from shared.store.submissions import NewJob, NewJobs
from shared.store.submit import submit_jobs
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE, NewCluster
from tests.faults.failpoints import Action, Moment
from tests.support.factories import make_new_job
from tests.support.servers import RedisServer
from tests.support.stub_executor import Behaviour
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

SHAPES = pytest.mark.parametrize("shape", ["chain", "fan"])
MANY = 1_000
ALL = 10_000

_BATCH = 250  # jobs that are submitted by one transaction
_ONCE = {"max_attempts": 1}
_OTHERS = 20  # jobs of somebody else, one after the other


def submit_waiting(cluster: Cluster, first: UUID, shape: str, count: int) -> None:
    """Submit jobs that all wait for the first one: each after the one before it, or all after the first."""
    jobs: list[NewJob] = []
    for _ in range(count):
        jobs.append(
            make_new_job(after=(jobs[-1].id if jobs and shape == "chain" else first,), queue="waiting")
        )

    def submit(session: Session, some: Sequence[NewJob]) -> None:
        together = 1 if shape == "chain" else len(some)
        for start in range(0, len(some), together):
            submit_jobs(session, [NewJobs([job]) for job in some[start : start + together]])

    for start in range(0, count, _BATCH):
        cluster.database.write(partial(submit, some=jobs[start : start + _BATCH]))


def count_waiting(session: Session) -> int:
    waiting = select(func.count()).where(Job.queue == "waiting", Job.state.not_in(TERMINAL))
    return session.scalar(waiting) or 0


@contextmanager
def all_are_cancelled_within(cluster: Cluster, seconds: float) -> Iterator[None]:
    """Wait until none of the jobs waits any more; check what is stored of them, and delete them."""
    began_at = monotonic()
    yield
    wait_until(lambda: cluster.database.read(count_waiting) == 0, "no job waits", seconds)
    assert monotonic() - began_at < seconds
    cluster.database.write(_check_and_delete)


def _check_and_delete(session: Session) -> None:
    named = select(JobDependency.after_id).where(JobDependency.job_id == Job.id).scalar_subquery()
    jobs = {
        row.id: row for row in session.execute(select(Job.id, Job.version, Job.state, named.label("after")))
    }
    waiting = set(session.scalars(select(Job.id).where(Job.queue == "waiting")))
    ends = select(JobEvent.job_id, JobEvent.seq, JobEvent.data).where(JobEvent.type == JobState.CANCELLED)
    events = {row.job_id: row for row in session.execute(ends) if row.job_id in waiting}
    assert events.keys() == waiting
    for job_id, event in events.items():
        job = jobs[job_id]
        assert (job.state, job.version, event.seq) == (JobState.CANCELLED, 2, 2)
        assert event.data["message"].startswith(f"job {job.after}, which it was to run after, has ")
    assert session.scalars(select(EndedPredecessor.job_id)).all() == []
    session.execute(delete(Job).where(Job.queue == "waiting"))


@KILLS_ON_SQLITE
@SHAPES
def test_a_cancel_is_answered_at_once_and_all_that_wait_are_cancelled_without_a_worker(
    new_cluster: NewCluster, redis: RedisServer, database_url: str, shape: str
) -> None:
    with new_cluster(database_url, redis.url) as cluster:
        api = cluster.api()
        first = cluster.submit(ends=JobState.CANCELLED, send=False)
        submit_waiting(cluster, first, shape, MANY)
        with all_are_cancelled_within(cluster, 30):
            asked_at = monotonic()
            assert api.post(f"jobs/{first}/cancel").status_code == 200
            assert monotonic() - asked_at < 2
            assert api.submit().status_code == 202
        for job_id in cluster.expect_stored_jobs():
            if cluster.expected[job_id] == JobState.SUCCEEDED:
                cluster.cancel(job_id)


@SHAPES
def test_a_failure_for_which_thousands_wait_is_reported_once_and_others_run_meanwhile(
    new_cluster: NewCluster, redis: RedisServer, database_url: str, shape: str
) -> None:
    with new_cluster(database_url, redis.url) as cluster:
        failing = cluster.submit(ends=JobState.FAILED, send=False, options=_ONCE, seed=Behaviour.RAISES)
        submit_waiting(cluster, failing, shape, MANY)
        other = cluster.submit(send=False)
        cluster.worker()
        with all_are_cancelled_within(cluster, 60):
            cluster.wait_for(failing, JobState.FAILED)
            assert cluster.wait_for(other, JobState.SUCCEEDED).attempt == 1
        assert cluster.job(failing).attempt == 1


def test_jobs_start_when_the_one_that_thousands_wait_for_has_succeeded(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url) as cluster:
        first = cluster.submit()
        submit_waiting(cluster, first, "fan", MANY)
        cluster.worker()
        cluster.wait_for(first, JobState.SUCCEEDED)
        still = select(func.count()).where(Job.pending_predecessors > 0)
        wait_until(
            lambda: cluster.database.read(lambda session: session.scalar(still)) == 0, "none waits", 60
        )
        cluster.database.write(lambda session: session.execute(delete(Job).where(Job.queue == "waiting")))


@pytest.mark.parametrize("moment", list(Moment))
@SHAPES
def test_what_a_killed_api_leaves_is_cancelled_by_the_next_worker(
    cluster: Cluster, shape: str, moment: Moment
) -> None:
    api = cluster.api()
    first = cluster.submit(ends=JobState.CANCELLED, send=False)
    submit_waiting(cluster, first, shape, MANY)
    failpoint = cluster.arm("cancelled", moment, Action.KILL, nth=3)
    assert api.post(f"jobs/{first}/cancel").status_code == 200
    assert failpoint.wait() == api.program.pid
    assert cluster.database.read(count_waiting) > 0
    with all_are_cancelled_within(cluster, 60):
        cluster.worker()


@pytest.mark.parametrize("moment", list(Moment))
@SHAPES
def test_what_a_killed_worker_leaves_is_cancelled_by_the_next_one(
    cluster: Cluster, shape: str, moment: Moment
) -> None:
    failing = cluster.submit(ends=JobState.FAILED, send=False, options=_ONCE, seed=Behaviour.RAISES)
    submit_waiting(cluster, failing, shape, MANY)
    failpoint = cluster.arm("cancelled", moment, Action.KILL, nth=2)
    worker = cluster.start_worker()
    assert failpoint.wait(60) == worker.pid  # the parent's reconciler
    worker.kill_all()
    assert cluster.database.read(count_waiting) > 0
    with all_are_cancelled_within(cluster, 60):
        cluster.worker()


@pytest.mark.timeout(900)
@SHAPES
def test_others_start_as_usual_while_ten_thousand_are_cancelled(
    new_cluster: NewCluster,
    redis: RedisServer,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    shape: str,
) -> None:
    with new_cluster(database_url, redis.url) as cluster:
        api = cluster.api()
        first = cluster.submit(ends=JobState.CANCELLED, send=False, options={"queue": "waiting first"})
        submit_waiting(cluster, first, shape, ALL)
        cluster.worker()
        before = start_seconds(cluster)
        with all_are_cancelled_within(cluster, 60):
            asked_at = monotonic()
            assert api.post(f"jobs/{first}/cancel").status_code == 200
            answered_s = monotonic() - asked_at
            meanwhile = start_seconds(cluster)
            left = cluster.database.read(count_waiting)
            ended_at = monotonic()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{ALL:,} jobs in a {shape}, {database_url.partition(':')[0]}: the cancel was answered after "
            f"{answered_s:.2f} s, {left:,} were left after {ended_at - asked_at:.1f} s; others started after "
            f"{before:.3f} s (p99) before, {meanwhile:.3f} s meanwhile\n"
        )
    assert answered_s < 2
    assert meanwhile < max(1.0, 3 * before)


def start_seconds(cluster: Cluster) -> float:
    """Run some jobs, one after the other; return the 99th percentile of how long they waited."""
    waited = []
    for _ in range(_OTHERS):
        job = cluster.wait_for(cluster.submit(epochs=1), JobState.SUCCEEDED)
        assert job.started_at is not None
        waited.append((job.started_at - job.created_at).total_seconds())
    return quantiles(waited, n=100, method="inclusive")[98]
