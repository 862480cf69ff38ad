"""A paused queue gives no jobs and a draining worker takes none, and no hint is lost by that."""

from functools import partial
from uuid import UUID

import pytest

from shared import admission, attempts, recovery
from shared.db import Database
from shared.errors import WorkerNotFound, WorkerStopped
from shared.tables import Job, PausedQueue, Worker
from tests import factories


def _claim(database: Database, job_id: UUID, worker: str = "worker-1") -> attempts.Claim | None:
    info = factories.make_worker_info(name=worker)
    return database.write(
        partial(attempts.claim, job_id=job_id, worker=info, owner=f"{worker}/1", lease_s=30.0)
    )


def _is_dispatched(database: Database, job_id: UUID) -> bool:
    return database.read(lambda session: session.get_one(Job, job_id).dispatched_at is not None)


def _taken(database: Database, *queues: str, lost_after_s: float | None = None) -> list[UUID]:
    hints = database.write(
        lambda session: recovery.take_undispatched(session, queues, lost_after_s=lost_after_s)
    )
    return [hint.job_id for hint in hints]


def _pause(database: Database, queue: str = "default") -> None:
    database.write(lambda session: admission.pause(session, queue))


def _resume(database: Database, queue: str = "default") -> None:
    database.write(lambda session: admission.resume(session, queue))


def test_a_job_of_a_paused_queue_is_not_claimed_and_is_to_be_sent_again(database: Database) -> None:
    job_id = factories.submitted(database)
    _pause(database)
    assert _claim(database, job_id) is None
    assert not _is_dispatched(database, job_id)


def test_jobs_of_other_queues_are_claimed_all_the_same(database: Database) -> None:
    _pause(database)
    assert _claim(database, factories.submitted(database, queue="gpu")) is not None


def test_a_running_job_of_a_queue_that_is_paused_goes_on(database: Database) -> None:
    attempt = factories.running(database)
    _pause(database)
    factories.record(database, attempt, 3)
    factories.succeed(database, attempt, factories.make_model())


def test_jobs_of_a_paused_queue_are_sent_when_it_is_resumed_and_not_before(database: Database) -> None:
    job_id = factories.submitted(database)
    _pause(database)
    _claim(database, job_id)
    assert _taken(database, "default", lost_after_s=0) == []
    _resume(database)
    assert _taken(database, "default") == [job_id]
    assert _claim(database, job_id) is not None


def test_pausing_and_resuming_twice_is_doing_so_once(database: Database) -> None:
    for _ in range(2):
        _pause(database)
    assert database.read(lambda session: session.get(PausedQueue, "default")) is not None
    for _ in range(2):
        _resume(database)
    assert database.read(lambda session: session.get(PausedQueue, "default")) is None


def test_a_draining_worker_claims_nothing_and_leaves_the_job_to_others(database: Database) -> None:
    worker, job_id = factories.worker(database), factories.submitted(database)
    database.write(lambda session: admission.drain(session, worker))
    assert _claim(database, job_id, worker) is None
    assert _taken(database, "default") == [job_id]
    assert _claim(database, job_id, "worker-2") is not None


def test_a_draining_worker_finishes_what_it_runs(database: Database) -> None:
    worker, attempt = factories.worker(database), factories.running(database)
    database.write(lambda session: admission.drain(session, worker))
    factories.succeed(database, attempt, factories.make_model())


def test_a_worker_that_drains_no_more_claims_again(database: Database) -> None:
    worker, job_id = factories.worker(database), factories.submitted(database)
    database.write(lambda session: admission.drain(session, worker))
    database.write(lambda session: admission.undrain(session, worker))
    assert _claim(database, job_id, worker) is not None


def test_a_hint_for_a_job_that_another_worker_runs_changes_nothing(database: Database) -> None:
    job_id = factories.submitted(database)
    assert _claim(database, job_id, "worker-1") is not None
    _pause(database)
    assert _claim(database, job_id, "worker-2") is None
    assert _is_dispatched(database, job_id)


def test_an_unknown_worker_cannot_be_drained(database: Database) -> None:
    with pytest.raises(WorkerNotFound, match="nobody"):
        database.write(lambda session: admission.drain(session, "nobody"))


def test_a_worker_that_has_stopped_stays_so(database: Database) -> None:
    worker = factories.worker(database, state="stopped")
    with pytest.raises(WorkerStopped):
        database.write(lambda session: admission.undrain(session, worker))
    assert database.read(lambda session: session.get_one(Worker, worker).state) == "stopped"
