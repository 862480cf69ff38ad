"""How long a queued job waits, and for what."""

from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import Job
from shared.lifecycle import WorkerState
from shared.schemas import Priority, WaitingFor
from shared.store import attempts, limits, queues, waits
from shared.store.submissions import NewJobs, Submitter
from shared.store.submit import submit_job, submit_jobs
from tests.support import factories, queue_driver, registry, stored
from tests.support.fakes import FrozenClock
from tests.support.statements import selects


def _waiting(database: Database, job_id: UUID, now: Now = database_now) -> waits.Wait:
    return database.read(lambda session: waits.of_job(session, session.get_one(Job, job_id), now=now))


def test_the_position_in_a_queue_depends_on_priority_and_then_on_age(database: Database) -> None:
    low, normal, high, younger = (
        queue_driver.submit(database, priority=priority)
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL)
    )
    queue_driver.submit(database, queue="gpu", priority=Priority.HIGH)
    queue_driver.running(database, priority=Priority.HIGH)
    positions = [_waiting(database, job_id).queue_position for job_id in (high, normal, younger, low)]
    assert positions == [1, 2, 3, 4]


def test_a_position_is_counted_up_to_the_maximum(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MAX_POSITION", 3)
    job_ids = [queue_driver.submit(database) for _ in range(5)]
    assert [_waiting(database, job_id).queue_position for job_id in job_ids] == [1, 2, 3, 3, 3]


def test_a_job_waits_for_an_online_worker_of_its_queue(database: Database) -> None:
    job_id = queue_driver.submit(database)
    others: tuple[dict[str, Any], ...] = (
        {"queues": ["gpu"]},
        {"state": WorkerState.DRAINING},
        {"state": WorkerState.STOPPED},
        {"heartbeat_at": database_now(-99)},
    )
    for number, overrides in enumerate(others):
        registry.worker(database, id=f"worker-{number}", **overrides)
        assert _waiting(database, job_id).waiting_for == WaitingFor.NO_WORKER_ONLINE
    registry.worker(database, id="good", queues=["gpu", "default"])
    assert _waiting(database, job_id).waiting_for is None


def test_a_job_waits_while_every_slot_is_busy(database: Database) -> None:
    registry.worker(database, slots=1)
    queue_driver.running(database)
    job_id = queue_driver.submit(database)
    assert _waiting(database, job_id).waiting_for == WaitingFor.ALL_BUSY
    registry.worker(database, id="worker-2")
    assert _waiting(database, job_id).waiting_for is None


def test_a_job_waits_until_its_scheduled_time(database: Database) -> None:
    registry.worker(database)
    job_id = queue_driver.submit(database)
    stored.set_columns(database, job_id, scheduled_at=database_now(60))
    assert _waiting(database, job_id).waiting_for == WaitingFor.SCHEDULED


def test_a_paused_queue_is_the_first_reason_to_wait(database: Database) -> None:
    job_id = queue_driver.submit(database)
    database.write(lambda session: queues.pause(session, "default"))
    assert _waiting(database, job_id).waiting_for == WaitingFor.PAUSED


def test_a_job_tells_what_its_tenant_has_waiting_and_running(database: Database) -> None:
    def submit(tenant: str, jobs: int) -> list[UUID]:
        new = [factories.make_new_job() for _ in range(jobs)]
        request = NewJobs(new, submitter=Submitter(tenant))
        database.write(lambda session: submit_jobs(session, [request]))
        return [job.id for job in new]

    mine = submit("a", 5)
    submit("b", 3)
    for job_id in mine[:2]:
        queue_driver.claim(database, job_id)
    wait = _waiting(database, mine[2])
    assert (wait.tenant_queued, wait.tenant_running) == (3, 2)


def test_a_wait_is_estimated_from_the_last_jobs_and_the_slots(database: Database, clock: FrozenClock) -> None:
    registry.worker(database, slots=2)
    for duration_s in (10.0, 30.0):
        new = factories.make_new_job()
        database.write(partial(submit_job, new=new, now=clock))
        claim = queue_driver.claim(database, new.id, now=clock)
        clock.advance(duration_s)
        database.write(partial(attempts.cancel_attempt, attempt=claim.attempt, now=clock))
    began = monotonic()
    for _ in range(2):  # which have just begun
        queue_driver.running(database)
    job_ids = [queue_driver.submit(database) for _ in range(3)]
    estimates = [_waiting(database, job_id).starts_in_s for job_id in job_ids]
    passed_s = monotonic() - began  # of which the estimates take account
    assert estimates == pytest.approx([20.0, 20.0, 40.0], abs=2 + 2 * passed_s)


def test_a_running_job_is_expected_to_go_on_as_fast_as_it_is(database: Database) -> None:
    registry.worker(database, slots=1)
    queue_driver.succeeded(database)
    running = queue_driver.running(database, spec=factories.make_spec(epochs=10)).job_id
    began = monotonic()
    stored.set_columns(database, running, next_epoch=2, started_at=database_now(-100))
    estimate = _waiting(database, queue_driver.submit(database)).starts_in_s
    assert estimate == pytest.approx(400, abs=5 + 4 * (monotonic() - began))  # 8 epochs as long as these 2


def test_without_a_worker_or_a_finished_job_nobody_can_tell_when_a_job_starts(database: Database) -> None:
    job_id = queue_driver.submit(database)
    assert _waiting(database, job_id).starts_in_s is None
    registry.worker(database, slots=1)
    queue_driver.running(database)
    wait = _waiting(database, job_id)
    assert (wait.waiting_for, wait.starts_in_s) == (WaitingFor.ALL_BUSY, None)


def test_the_waits_of_many_jobs_are_those_of_each_and_read_what_they_share_once(database: Database) -> None:
    registry.worker(database, queues=["default", "full"], slots=1)
    queue_driver.succeeded(database)
    queue_driver.running(database)
    queue_driver.running(database, queue="full")
    database.write(lambda session: limits.limit_queue(session, "full", 1))
    database.write(lambda session: queues.pause(session, "paused"))
    jobs = [
        queue_driver.submit(database, queue=queue) for queue in ("default", "full", "paused", "no worker") * 3
    ]

    def read(session: Session, count: int = 12) -> list[waits.Wait]:
        return waits.of_jobs(session, [session.get_one(Job, job_id) for job_id in jobs[:count]], now=clock)

    clock = FrozenClock(datetime.now(UTC))  # what is left of a running job depends on the time
    alone = [_waiting(database, job_id, clock) for job_id in jobs]
    assert database.read(read) == alone
    assert len({wait.waiting_for for wait in alone}) == 4
    few, many = selects(database, partial(read, count=4)), selects(database, read)
    assert len(many) - len(few) <= 2 * 8  # the jobs and their positions
