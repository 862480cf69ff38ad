"""Jobs of paused queues and of draining workers are not claimed, and queues report their load."""

from functools import partial

import pytest

from shared import schemas
from shared.db.engine import Database
from shared.db.tables import Queue
from shared.lifecycle import WorkerState
from shared.schemas import Priority
from shared.store import limits, queues, workers
from tests.support import factories, queue_driver, registry


def _pause(database: Database, queue: str = "default") -> None:
    database.write(lambda session: queues.pause(session, queue))


def _resume(database: Database, queue: str = "default") -> None:
    database.write(lambda session: queues.resume(session, queue))


def test_a_job_of_a_paused_queue_is_not_claimed_until_the_queue_is_resumed(database: Database) -> None:
    queue_driver.submit(database)
    _pause(database)
    assert queue_driver.claim_next(database) is None
    _resume(database)
    assert queue_driver.claim_next(database) is not None


def test_a_paused_queue_does_not_affect_others(database: Database) -> None:
    _pause(database)
    queue_driver.submit(database, queue="gpu")
    assert queue_driver.claim_next(database, "default", "gpu") is not None


def test_a_running_job_of_a_paused_queue_continues(database: Database) -> None:
    attempt = queue_driver.running(database)
    _pause(database)
    queue_driver.record(database, attempt, 3)
    queue_driver.succeed(database, attempt, factories.make_model())


def test_pausing_and_resuming_are_idempotent(database: Database) -> None:
    for _ in range(2):
        _pause(database)
    assert database.read(lambda session: session.get(Queue, "default")) is not None
    for _ in range(2):
        _resume(database)
    assert database.read(lambda session: session.get(Queue, "default")) is None


def test_a_pause_and_a_limit_do_not_touch_each_other_and_nothing_is_left_of_both(database: Database) -> None:
    def stored() -> tuple[bool, int | None] | None:
        row = database.read(lambda session: session.get(Queue, "default"))
        return (row.paused_at is not None, row.max_running) if row else None

    def limit(max_running: int | None) -> None:
        database.write(lambda session: limits.limit_queue(session, "default", max_running))

    limit(2)
    _pause(database)
    assert stored() == (True, 2)
    limit(None)
    assert stored() == (True, None)
    limit(3)
    _resume(database)
    assert stored() == (False, 3)
    limit(None)
    assert stored() is None


def test_a_draining_worker_claims_nothing_and_others_do(database: Database) -> None:
    worker, job_id = registry.worker(database), queue_driver.submit(database)
    database.write(lambda session: workers.drain(session, worker))
    assert queue_driver.claim_next(database, worker=worker) is None
    claim = queue_driver.claim_next(database, worker="worker-2")
    assert claim is not None
    assert claim.attempt.job_id == job_id


def test_a_draining_worker_finishes_its_running_jobs(database: Database) -> None:
    worker, attempt = registry.worker(database), queue_driver.running(database)
    database.write(lambda session: workers.drain(session, worker))
    queue_driver.succeed(database, attempt, factories.make_model())


def test_an_undrained_worker_claims_again(database: Database) -> None:
    worker = registry.worker(database)
    queue_driver.submit(database)
    database.write(lambda session: workers.drain(session, worker))
    database.write(lambda session: workers.undrain(session, worker))
    assert queue_driver.claim_next(database, worker=worker) is not None


def _queues(database: Database, *named: str) -> dict[str, schemas.Queue]:
    return {queue.name: queue for _, queue in database.read(lambda session: queues.page(session, named))}


def test_a_queue_reports_its_queued_jobs_and_its_workers(database: Database) -> None:
    registry.worker(database, slots=3)
    registry.worker(database, id="worker-2", state=WorkerState.DRAINING)
    queue_driver.running(database)
    for priority in (Priority.HIGH, Priority.LOW, Priority.LOW):
        queue_driver.submit(database, priority=priority)
    queue_driver.failed(database)
    queue = _queues(database)["default"]
    assert queue.queued == {Priority.URGENT: 0, Priority.HIGH: 1, Priority.NORMAL: 0, Priority.LOW: 2}
    assert (queue.running, queue.workers, queue.slots, queue.paused) == (1, 1, 3, False)
    assert queue.oldest_waiting_s is not None
    assert 0 <= queue.oldest_waiting_s < 60


def test_queues_in_use_and_named_queues_are_listed(database: Database) -> None:
    queue_driver.submit(database, queue="waits")
    registry.worker(database, queues=["served"])
    registry.worker(database, id="worker-2", queues=["left"], state=WorkerState.STOPPED)
    queue_driver.failed(database, queue="done")
    database.write(lambda session: queues.pause(session, "paused"))
    listed = _queues(database, "default")
    assert list(listed) == ["default", "paused", "served", "waits"]
    assert listed["paused"].paused
    assert listed["default"].oldest_waiting_s is None


@pytest.mark.parametrize(
    ("queued", "running", "paused", "workers", "slots", "desired"),
    [
        (0, 0, False, 0, 0, 0),
        (3, 0, False, 0, 0, 3),
        (3, 2, False, 2, 2, 5),
        (5, 2, False, 2, 4, 4),
        (5, 2, True, 2, 4, 1),
    ],
)
def test_the_desired_workers_can_run_all_jobs_at_the_same_time(
    queued: int, running: int, paused: bool, workers: int, slots: int, desired: int
) -> None:
    queue = schemas.Queue(
        name="default",
        paused=paused,
        queued={Priority.NORMAL: queued},
        oldest_waiting_s=None,
        running=running,
        workers=workers,
        slots=slots,
    )
    assert queues.load(queue) == schemas.QueueLoad(
        queued=0 if paused else queued, running=running, workers=workers, desired=desired
    )


def test_queues_are_listed_in_pages_by_name(database: Database) -> None:
    names = ["a", "b", "c", "d"]
    first = database.read(partial(queues.page, named=names, limit=3))
    second = database.read(partial(queues.page, named=names, limit=3, after=first[-1][0]))
    assert [[queue.name for _, queue in rows] for rows in (first, second)] == [["a", "b", "c"], ["d"]]
