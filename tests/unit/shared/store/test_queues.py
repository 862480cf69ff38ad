"""A paused queue gives no jobs and a draining worker takes none, and no hint is lost by that."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from shared import schemas
from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.tables import Job, PausedQueue, Worker
from shared.errors import WorkerNotFound, WorkerStopped
from shared.schemas import Priority, WaitingFor
from shared.store import attempts, dispatch, queues, workers
from tests.support import factories
from tests.support.fakes import FrozenClock
from tests.support.statements import ON_SQLITE, asked, plan


def _claim(database: Database, job_id: UUID, worker: str = "worker-1") -> attempts.Claim | None:
    info = factories.make_worker_info(name=worker)
    return database.write(
        partial(attempts.claim, job_id=job_id, worker=info, owner=f"{worker}/1", lease_s=30.0)
    )


def _is_dispatched(database: Database, job_id: UUID) -> bool:
    return database.read(lambda session: session.get_one(Job, job_id).dispatched_at is not None)


def _taken(database: Database, *queues: str, lost_after_s: float | None = None) -> list[UUID]:
    hints = database.write(
        lambda session: dispatch.take_undispatched(session, queues, lost_after_s=lost_after_s)
    )
    return [hint.job_id for hint in hints]


def _pause(database: Database, queue: str = "default") -> None:
    database.write(lambda session: queues.pause(session, queue))


def _resume(database: Database, queue: str = "default") -> None:
    database.write(lambda session: queues.resume(session, queue))


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
    database.write(lambda session: workers.drain(session, worker))
    assert _claim(database, job_id, worker) is None
    assert _taken(database, "default") == [job_id]
    assert _claim(database, job_id, "worker-2") is not None


def test_a_draining_worker_finishes_what_it_runs(database: Database) -> None:
    worker, attempt = factories.worker(database), factories.running(database)
    database.write(lambda session: workers.drain(session, worker))
    factories.succeed(database, attempt, factories.make_model())


def test_a_worker_that_drains_no_more_claims_again(database: Database) -> None:
    worker, job_id = factories.worker(database), factories.submitted(database)
    database.write(lambda session: workers.drain(session, worker))
    database.write(lambda session: workers.undrain(session, worker))
    assert _claim(database, job_id, worker) is not None


def test_a_hint_for_a_job_that_another_worker_runs_changes_nothing(database: Database) -> None:
    job_id = factories.submitted(database)
    assert _claim(database, job_id, "worker-1") is not None
    _pause(database)
    assert _claim(database, job_id, "worker-2") is None
    assert _is_dispatched(database, job_id)


def test_an_unknown_worker_cannot_be_drained(database: Database) -> None:
    with pytest.raises(WorkerNotFound, match="nobody"):
        database.write(lambda session: workers.drain(session, "nobody"))


def test_a_worker_that_has_stopped_stays_so(database: Database) -> None:
    worker = factories.worker(database, state="stopped")
    with pytest.raises(WorkerStopped):
        database.write(lambda session: workers.undrain(session, worker))
    assert database.read(lambda session: session.get_one(Worker, worker).state) == "stopped"


def _workers(database: Database, clock: FrozenClock | None = None) -> dict[str, schemas.Worker]:
    found = database.read(lambda session: workers.every(session, now=clock or database_now))
    return {worker.id: worker for worker in found}


def _waiting(database: Database, job_id: UUID) -> queues.Waiting:
    return database.read(lambda session: queues.waiting(session, session.get_one(Job, job_id)))


def _queues(database: Database, *named: str) -> dict[str, schemas.Queue]:
    return {queue.name: queue for queue in database.read(lambda session: queues.every(session, named))}


def _heard_of(clock: FrozenClock, seconds_ago: float) -> dict[str, Any]:
    moment = clock.moment - timedelta(seconds=seconds_ago)
    return {"started_at": moment, "heartbeat_at": moment}


def test_workers_are_told_with_the_age_of_their_heartbeat_last_heard_of_first(database: Database) -> None:
    clock = FrozenClock()
    factories.worker(database, id="silent", **_heard_of(clock, 40))
    factories.worker(database, id="lively", **_heard_of(clock, 1.5))
    found = _workers(database, clock)
    assert [(name, worker.heartbeat_age_s) for name, worker in found.items()] == [
        ("lively", 1.5),
        ("silent", 40),
    ]


def test_a_heartbeat_is_never_from_the_future(database: Database) -> None:
    clock = FrozenClock()
    factories.worker(database, **_heard_of(clock, -0.5))
    assert _workers(database, clock)["worker-1"].heartbeat_age_s == 0


@pytest.mark.parametrize(
    ("state", "seconds_ago", "shown"),
    [
        ("online", 45, "online"),
        ("online", 45.1, "lost"),
        ("draining", 46, "lost"),
        ("draining", 1, "draining"),
        ("stopped", 999, "stopped"),
    ],
)
def test_a_worker_that_is_not_heard_of_for_too_long_is_lost(
    database: Database, state: str, seconds_ago: float, shown: str
) -> None:
    clock = FrozenClock()
    factories.worker(database, state=state, lost_after_s=45.0, **_heard_of(clock, seconds_ago))
    assert _workers(database, clock)["worker-1"].state == shown


def test_a_worker_shows_the_jobs_that_it_runs(database: Database) -> None:
    factories.worker(database, slots=2)
    factories.worker(database, id="idle")
    running = factories.running(database).job_id
    factories.succeeded(database)
    found = _workers(database)
    assert (found["worker-1"].jobs, found["worker-1"].busy_slots) == ((running,), 1)
    assert (found["idle"].jobs, found["idle"].busy_slots) == ((), 0)


def test_jobs_wait_by_priority_and_then_by_age_each_queue_for_itself(database: Database) -> None:
    low, normal, high, younger = (
        factories.submitted(database, priority=priority)
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL)
    )
    factories.submitted(database, queue="gpu", priority=Priority.HIGH)
    factories.running(database, priority=Priority.HIGH)
    positions = [_waiting(database, job_id).queue_position for job_id in (high, normal, younger, low)]
    assert positions == [1, 2, 3, 4]


def test_a_job_waits_for_a_worker_of_its_queue_that_takes_jobs(database: Database) -> None:
    job_id = factories.submitted(database)
    for number, overrides in enumerate(
        (
            {"queues": ["gpu"]},
            {"state": "draining"},
            {"state": "stopped"},
            {"heartbeat_at": database_now(-99)},
        )
    ):
        factories.worker(database, id=f"worker-{number}", **overrides)  # type: ignore[arg-type]
        assert _waiting(database, job_id).waiting_for == WaitingFor.NO_WORKER_ONLINE
    factories.worker(database, id="good", queues=["gpu", "default"])
    assert _waiting(database, job_id).waiting_for is None


def test_a_job_waits_while_every_slot_is_taken(database: Database) -> None:
    factories.worker(database, slots=1)
    factories.running(database)
    job_id = factories.submitted(database)
    assert _waiting(database, job_id).waiting_for == WaitingFor.ALL_BUSY
    factories.worker(database, id="worker-2")
    assert _waiting(database, job_id).waiting_for is None


def test_a_job_waits_until_it_is_due(database: Database) -> None:
    factories.worker(database)
    job_id = factories.submitted(database)
    due = update(Job).where(Job.id == job_id).values(scheduled_at=database_now(60))
    database.write(lambda session: session.execute(due))
    assert _waiting(database, job_id).waiting_for == WaitingFor.SCHEDULED


def test_a_job_of_a_paused_queue_waits_for_that_whatever_else_there_is(database: Database) -> None:
    job_id = factories.submitted(database)
    database.write(lambda session: queues.pause(session, "default"))
    assert _waiting(database, job_id).waiting_for == WaitingFor.PAUSED


def test_a_queue_shows_what_waits_and_who_serves_it(database: Database) -> None:
    factories.worker(database, slots=3)
    factories.worker(database, id="worker-2", state="draining")
    factories.running(database)
    for priority in (Priority.HIGH, Priority.LOW, Priority.LOW):
        factories.submitted(database, priority=priority)
    factories.failed(database)
    queue = _queues(database)["default"]
    assert queue.queued == {Priority.HIGH: 1, Priority.NORMAL: 0, Priority.LOW: 2}
    assert (queue.running, queue.workers, queue.slots, queue.paused) == (1, 1, 3, False)
    assert queue.oldest_waiting_s is not None
    assert 0 <= queue.oldest_waiting_s < 60


def test_queues_are_those_that_have_anything_and_those_that_are_named(database: Database) -> None:
    factories.submitted(database, queue="waits")
    factories.worker(database, queues=["served"])
    factories.worker(database, id="worker-2", queues=["left"], state="stopped")
    factories.failed(database, queue="done")
    database.write(lambda session: queues.pause(session, "paused"))
    found = _queues(database, "default")
    assert list(found) == ["default", "paused", "served", "waits"]
    assert found["paused"].paused
    assert found["default"].oldest_waiting_s is None


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
def test_as_many_workers_are_desired_as_could_run_all_at_once(
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


@ON_SQLITE
def test_what_waits_is_counted_in_an_index(database: Database) -> None:
    *_, loads = asked(database, lambda session: queues.every(session, ()))
    found = plan(database, loads)
    index = "ix_jobs_state_queue_priority"
    assert f"COVERING INDEX {index}" in found or f"Index Only Scan using {index}" in found
