"""The Celery task: a message wakes a pool process up, which runs jobs while any can start."""

import pytest

from shared.lifecycle import JobState
from tests.support import registry, stored
from tests.support.queue_driver import claim_next, submit
from tests.unit.workers.conftest import MakeProcess
from workers import pool_process
from workers.pool_process import PoolProcess
from workers.tasks import run_jobs


@pytest.fixture
def process(make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch) -> PoolProcess:
    """The state of this process, as if it were a pool process that serves the queues `a` and `b`."""
    process = make_process(queues=("a", "b"))
    monkeypatch.setattr(pool_process, "_current", process)
    return process


def test_one_message_runs_all_jobs_of_the_queues_of_the_worker(process: PoolProcess) -> None:
    job_ids = [submit(process.database, queue=queue) for queue in ("a", "b", "a")]
    elsewhere = submit(process.database, queue="c")
    run_jobs("b")
    finished = [stored.job(process.database, job_id) for job_id in job_ids]
    assert {job.state for job in finished} == {JobState.SUCCEEDED}
    assert min(finished, key=lambda job: job.started_at or 0) == finished[0]
    assert stored.job(process.database, elsewhere).state == JobState.QUEUED


def test_a_message_for_a_job_that_another_worker_runs_changes_nothing(process: PoolProcess) -> None:
    job_id = submit(process.database, queue="a")
    assert claim_next(process.database, "a") is not None
    run_jobs("a")
    assert (stored.job(process.database, job_id).version, stored.job(process.database, job_id).attempt) == (
        2,
        1,
    )


def test_a_message_runs_no_job_of_a_paused_queue(process: PoolProcess) -> None:
    paused, other = (submit(process.database, queue=queue) for queue in ("a", "b"))
    registry.pause(process.database, "a")
    run_jobs("a")
    assert stored.job(process.database, paused).state == JobState.QUEUED
    assert stored.job(process.database, other).state == JobState.SUCCEEDED


@pytest.mark.parametrize("queue", ["c", "", "no\0queue", None, 5, ["a"], {"queue": "a"}])
def test_a_message_for_a_queue_that_the_worker_does_not_serve_wakes_it_up_too(
    process: PoolProcess, queue: object
) -> None:
    job_id, elsewhere = submit(process.database, queue="b"), submit(process.database, queue="c")
    run_jobs(queue)
    assert stored.job(process.database, job_id).state == JobState.SUCCEEDED
    assert stored.job(process.database, elsewhere).state == JobState.QUEUED
