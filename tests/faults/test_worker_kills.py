"""Workers are killed, suspended and shut down at every moment; each job ends as in its golden run."""

from itertools import product
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from time import monotonic
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from shared.lifecycle import AttemptOutcome, EventType, JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.failpoints import Action, Moment
from tests.faults.programs import pass_seconds
from tests.support import stored
from tests.support.servers import RedisServer
from tests.support.stub_executor import Behaviour
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

# every commit of an attempt at a job of 4 epochs; the last epoch and the second phase are in the report
COMMITS = [
    ("claimed", 1),
    ("phases", 1),
    ("renewed", 1),
    ("epochs", 1),
    ("epochs", 2),
    ("epochs", 4),
    ("phases", 2),
    ("succeeded", 1),
]
BOUNDARIES = [(*commit, moment) for commit, moment in product(COMMITS, Moment)]


def trigger_at_every_commit(cluster: Cluster, action: Action) -> list[UUID]:
    """Run a job for each commit of an attempt, and fire a failpoint at that commit."""
    job_ids: list[UUID] = []
    for transaction, nth, moment in BOUNDARIES:
        if transaction == "renewed" and action is Action.KILL:
            continue  # that is done by the parent, with which the worker ends
        job_id = uuid7()
        # the SQL of a renewal does not contain the id of its job
        only_job = None if transaction == "renewed" else job_id
        failpoint = cluster.arm(transaction, moment, action, nth=nth, job_id=only_job)
        job_ids.append(cluster.submit(options={"id": job_id}, seed=len(job_ids)))
        failpoint.wait(timeout=60)
    return job_ids


def outcomes(cluster: Cluster, job_id: UUID) -> list[str | None]:
    """Return the outcomes of the job's attempts, in order."""
    return [attempt.outcome for attempt in stored.attempts(cluster.database, job_id)]


@pytest.mark.kills
def test_job_of_a_killed_worker_is_resumed_within_a_lease(cluster: Cluster) -> None:
    cluster.workers(2)
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 1)
    cluster.owner(job_id).kill_all()
    killed_at = monotonic()
    cluster.wait_for_attempt(job_id, 2)
    assert monotonic() - killed_at < cluster.settings.lease_s + cluster.settings.reconcile_s + 1


def test_pool_process_ends_with_its_worker(sqlite_cluster: Cluster) -> None:
    sqlite_cluster.workers(2)
    job_id = sqlite_cluster.submit()
    sqlite_cluster.wait_for_epoch(job_id, 1)
    sqlite_cluster.owner(job_id).kill()
    wait_until(lambda: not sqlite_cluster.orphans(), "the pool process ends too", timeout=2)


def test_starting_pool_process_ends_with_its_worker(sqlite_cluster: Cluster) -> None:
    starting = sqlite_cluster.start_worker()
    wait_until(starting.pool, "the pool process is started", timeout=30)
    starting.kill()
    wait_until(lambda: not sqlite_cluster.orphans(), "the pool process ends too", timeout=20)


@pytest.mark.kills
def test_worker_whose_pool_process_was_killed_resumes_the_job(sqlite_cluster: Cluster) -> None:
    worker = sqlite_cluster.worker()
    job_id = sqlite_cluster.submit()
    sqlite_cluster.wait_for_epoch(job_id, 2)
    [child] = worker.pool()
    child.kill()
    ended = sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert (ended.attempt, sqlite_cluster.lost(ended.id)) == (2, 1)
    assert worker.code is None
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert [each.boot_id for each in stored.attempts(sqlite_cluster.database, job_id)] == [boot_id] * 2


@pytest.mark.kills
def test_job_that_kills_its_workers_fails_and_the_next_job_succeeds(sqlite_cluster: Cluster) -> None:
    sqlite_cluster.worker()
    poison = sqlite_cluster.submit(seed=Behaviour.KILLS_ITS_PROCESS, ends=JobState.FAILED)
    ended = sqlite_cluster.wait_for(poison, JobState.FAILED)
    assert (ended.attempt, ended.lost_attempts) == (sqlite_cluster.settings.max_lost_attempts,) * 2
    assert ended.error_code == "worker_lost"
    sqlite_cluster.submit()


@pytest.mark.kills
@pytest.mark.parametrize(
    ("transaction", "nth", "moment"),
    [("steps", 2, Moment.AFTER), ("epochs", 2, Moment.BEFORE), ("succeeded", 1, Moment.AFTER)],
)
def test_job_survives_a_kill_at_a_commit(
    sqlite_cluster: Cluster, transaction: str, nth: int, moment: Moment
) -> None:
    sqlite_cluster.worker()
    failpoint = sqlite_cluster.arm(transaction, moment, nth=nth)
    sqlite_cluster.submit()
    failpoint.wait()


def test_jobs_survive_a_kill_at_every_commit(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    # a job that goes on at once after its own kill may meet those at the next renewals too
    with new_cluster(database_url, redis.url, max_lost_attempts=10) as cluster:
        cluster.worker(slots=2)
        trigger_at_every_commit(cluster, Action.KILL)


@pytest.mark.parametrize(("transaction", "nth", "moment"), BOUNDARIES[1::4])
def test_job_survives_the_kill_of_a_whole_worker_at_a_commit(
    cluster: Cluster, transaction: str, nth: int, moment: Moment
) -> None:
    cluster.workers(2)
    failpoint = cluster.arm(transaction, moment, Action.KILL_WORKER, nth=nth)
    cluster.submit()
    failpoint.wait()


@pytest.mark.parametrize("moment", Moment)
def test_job_survives_the_kill_of_a_parent_at_a_renewal(cluster: Cluster, moment: Moment) -> None:
    cluster.workers(2)
    failpoint = cluster.arm("renewed", moment)
    cluster.submit()
    failpoint.wait()


def test_commits_whose_reply_was_lost_are_applied_once(cluster: Cluster) -> None:
    cluster.worker(slots=2)
    job_ids = trigger_at_every_commit(cluster, Action.DISCONNECT)
    cluster.wait_for_all()
    assert {cluster.job(job_id).attempt for job_id in job_ids} == {1}


def test_reaped_job_survives_a_kill_of_the_reconciler(cluster: Cluster) -> None:
    cluster.workers(3)
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 1)
    failpoints = [cluster.arm("lease_expired", moment) for moment in (Moment.BEFORE, Moment.AFTER)]
    cluster.owner(job_id).kill_all()
    for failpoint in failpoints:
        failpoint.wait(timeout=40)
    cluster.worker()


@pytest.mark.kills
def test_suspended_worker_resumed_after_the_end_of_its_job_writes_nothing(cluster: Cluster) -> None:
    cluster.workers(2)
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 1)
    suspended = cluster.owner(job_id)
    cluster.suspend(suspended)
    ended = cluster.wait_for(job_id, JobState.SUCCEEDED)
    suspended.send_all(Signals.SIGCONT)
    wait_until(
        lambda: suspended.logged(" superseded"), "the suspended worker leaves the job alone", timeout=10
    )
    assert cluster.job(job_id).version == ended.version
    assert suspended.code is None


def test_suspended_worker_resumed_while_another_trains_leaves_the_job_to_it(cluster: Cluster) -> None:
    cluster.workers(2)
    job_id = cluster.submit(epochs=8)
    cluster.wait_for_epoch(job_id, 1)
    suspended = cluster.owner(job_id)
    cluster.suspend(suspended)
    cluster.wait_for_attempt(job_id, 2)
    suspended.send_all(Signals.SIGCONT)
    wait_until(
        lambda: suspended.logged(" superseded"), "the suspended worker leaves the job alone", timeout=10
    )
    assert cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 2


def test_worker_suspended_before_its_last_commit_does_not_end_the_job_twice(
    new_cluster: NewCluster, redis: RedisServer, postgresql_url: str
) -> None:
    # its open transaction locks the job's row: without a limit on idle transactions no job could be reaped
    with new_cluster(postgresql_url, redis.url) as cluster:
        cluster.workers(2)
        failpoint = cluster.arm("succeeded", Moment.BEFORE, Action.STOP)
        job_id = cluster.submit()
        failpoint.wait()
        suspended = cluster.owner(job_id)
        suspended.send_all(Signals.SIGSTOP)
        other = cluster.submit()
        cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=40)
        cluster.wait_for(other, JobState.SUCCEEDED)
        suspended.send_all(Signals.SIGCONT)
        wait_until(
            lambda: suspended.logged(" superseded"), "the suspended worker leaves the job alone", timeout=10
        )


def test_attempt_resumed_before_its_last_write_leaves_the_job_to_the_next(cluster: Cluster) -> None:
    cluster.workers(2)
    job_id = cluster.submit()
    stop = cluster.arm("epochs", Moment.AFTER, Action.STOP, nth=2, job_id=job_id)
    stop.wait()
    suspended = cluster.owner(job_id)
    suspended.send_all(Signals.SIGSTOP)
    claimed = cluster.arm("claimed", Moment.AFTER, Action.HOLD)
    claimed.wait()
    suspended.send_all(Signals.SIGCONT)
    wait_until(
        lambda: suspended.logged(" superseded"), "the suspended worker leaves the job alone", timeout=10
    )
    assert cluster.job(job_id).state == JobState.RUNNING
    claimed.release()
    cluster.wait_for(job_id, JobState.SUCCEEDED)


def test_suspension_of_the_whole_machine_costs_no_attempt(cluster: Cluster) -> None:
    workers = cluster.workers(2)
    job_id = cluster.submit(epochs=8)
    cluster.wait_for_epoch(job_id, 2)
    for worker in workers:
        cluster.suspend(worker)
    pass_seconds(cluster.settings.lease_s + 1)
    # the parents, which would reap the job, resume before the pool process that runs it
    for worker in workers:
        worker.send(Signals.SIGCONT)
    pass_seconds(cluster.settings.reconcile_s * 3)
    for worker in workers:
        worker.send_all(Signals.SIGCONT)
    cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert cluster.lost(job_id) == 0


@pytest.mark.parametrize("stop_signal", [SIGTERM, SIGINT])
def test_worker_that_is_stopped_releases_its_job(cluster: Cluster, stop_signal: Signals) -> None:
    first, _ = cluster.workers(2)
    job_ids = [cluster.submit(epochs=8) for _ in range(2)]
    for job_id in job_ids:
        cluster.wait_for_epoch(job_id, 1)
    first.send(stop_signal)
    assert first.wait() == (0 if stop_signal == SIGTERM else 1)
    [released] = [id_ for id_ in job_ids if EventType.RELEASED in {e.type for e in cluster.events(id_)}]
    cluster.wait_for(released, JobState.SUCCEEDED)
    assert cluster.lost(released) == 0
    assert outcomes(cluster, released) == [AttemptOutcome.RELEASED, AttemptOutcome.SUCCEEDED]


@pytest.mark.parametrize("stop_signal", [SIGTERM, SIGINT])
def test_stop_of_the_whole_process_group_loses_nothing(sqlite_cluster: Cluster, stop_signal: Signals) -> None:
    # a service's stop and a terminal's Ctrl-C reach every process of a worker
    first, _ = sqlite_cluster.workers(2)
    job_id = sqlite_cluster.submit(epochs=8)
    sqlite_cluster.submit(epochs=8)
    sqlite_cluster.wait_for_epoch(job_id, 1)
    first.send_all(stop_signal)
    first.wait()


def test_worker_that_is_stopped_twice_loses_nothing(sqlite_cluster: Cluster) -> None:
    first = sqlite_cluster.worker()
    job_id = sqlite_cluster.submit(epochs=8)
    sqlite_cluster.wait_for_epoch(job_id, 1)
    first.send(SIGTERM)
    first.send(SIGTERM)
    first.wait()
    sqlite_cluster.worker()


def test_worker_killed_after_its_grace_period_counts_a_lost_attempt(sqlite_cluster: Cluster) -> None:
    first = sqlite_cluster.worker()
    job_id = sqlite_cluster.submit()
    sqlite_cluster.wait_for_epoch(job_id, 1)
    for child in first.pool():
        child.suspend()  # it cannot release the job
    first.send(SIGTERM)
    wait_until(lambda: first.logged("stopping: jobs that run"), "the worker waits for its job", timeout=10)
    first.kill_all()
    sqlite_cluster.worker()
    sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert sqlite_cluster.lost(job_id) == 1


def test_worker_that_cannot_run_jobs_ends_with_a_failure_status(sqlite_cluster: Cluster) -> None:
    sqlite_cluster.worker()
    broken = sqlite_cluster.start_worker({"TRAINSHED_EXECUTOR": "tests.no_such_module:NoExecutor"})
    sqlite_cluster.submit()
    assert broken.wait(60) != 0


def test_new_worker_finishes_the_jobs_after_every_worker_was_killed(cluster: Cluster) -> None:
    workers = cluster.workers(2)
    job_ids = [cluster.submit() for _ in range(3)]
    cluster.wait_for_epoch(job_ids[0], 1)
    for worker in workers:
        worker.kill_all()
    cluster.worker()
