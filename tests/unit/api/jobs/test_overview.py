"""The overview in one read."""

from api.jobs import overview
from shared.db.clock import database_now
from shared.db.engine import Database
from shared.lifecycle import JobState
from tests.support import factories, queue_driver, registry


def test_running_jobs_come_with_their_worker_and_curve(database: Database) -> None:
    registry.worker(database)
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 3)

    facts = database.read(overview.read)

    [running] = facts.running
    assert running.worker is not None
    assert (running.job.id, running.worker.id) == (attempt.job_id, "worker-1")
    assert running.curve == [factories.make_epoch(epoch).values["val_accuracy"] for epoch in range(3)]


def test_results_and_workers_that_stopped_are_left_out_or_counted(database: Database) -> None:
    registry.worker(database)
    registry.worker(database, id="stopped", state="stopped")
    registry.worker(database, id="lost", heartbeat_at=database_now(-1_000))
    jobs = queue_driver.one_of_each_state(database)

    facts = database.read(overview.read)

    assert {worker.id for worker in facts.workers} == {"worker-1", "lost"}
    assert [worker.id for worker in facts.online] == ["worker-1"]
    assert facts.results[0].id == jobs[JobState.CANCELLED]
    assert [job.id for job in facts.waiting] == [jobs[JobState.QUEUED]]
    assert facts.finished_last_hour == dict.fromkeys(facts.finished_last_hour, 1)
