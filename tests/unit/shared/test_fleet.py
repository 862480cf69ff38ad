"""Who is there, what they run, and why a job waits."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from shared import admission, fleet, schemas
from shared.clock import database_now
from shared.db import Database
from shared.schemas import Priority, WaitingFor
from shared.tables import Job
from tests import factories
from tests.fakes import FrozenClock
from tests.statements import ON_SQLITE, asked, plan


def _workers(database: Database, clock: FrozenClock | None = None) -> dict[str, schemas.Worker]:
    found = database.read(lambda session: fleet.workers(session, now=clock or database_now))
    return {worker.id: worker for worker in found}


def _waiting(database: Database, job_id: UUID) -> fleet.Waiting:
    return database.read(lambda session: fleet.waiting(session, session.get_one(Job, job_id)))


def _queues(database: Database, *named: str) -> dict[str, schemas.Queue]:
    return {queue.name: queue for queue in database.read(lambda session: fleet.queues(session, named))}


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
    database.write(lambda session: admission.pause(session, "default"))
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
    database.write(lambda session: admission.pause(session, "paused"))
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
    assert fleet.load(queue) == schemas.QueueLoad(
        queued=0 if paused else queued, running=running, workers=workers, desired=desired
    )


@ON_SQLITE
def test_what_waits_is_counted_in_an_index(database: Database) -> None:
    *_, loads = asked(database, lambda session: fleet.queues(session, ()))
    found = plan(database, loads)
    index = "ix_jobs_state_queue_priority"
    assert f"COVERING INDEX {index}" in found or f"Index Only Scan using {index}" in found
