"""Leases of several attempts are renewed by one statement, and read by one with what is asked of them."""

from collections.abc import Collection
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Job
from shared.schemas import Priority
from shared.store import leases
from shared.store.leases import Look, Standing
from shared.store.transitions import AttemptId
from tests.support import queue_driver, registry, stored
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import claim, expire, running, submit
from tests.support.statements import recorded_statements


def _renew(database: Database, attempts: Collection[AttemptId], clock: FrozenClock) -> set[AttemptId]:
    return database.write(partial(leases.renew, attempts=attempts, lease_s=20.0, now=clock))


def _look(database: Database, *attempts: AttemptId, worker: str = "worker-1") -> Look:
    return database.read(partial(leases.look, attempts=attempts, worker=worker))


def test_a_renewal_extends_leases_and_changes_nothing_else(database: Database, clock: FrozenClock) -> None:
    attempts = [running(database) for _ in range(3)]
    versions = [stored.job(database, attempt.job_id).version for attempt in attempts]
    assert _renew(database, attempts[:2], clock) == set(attempts[:2])
    jobs, end = [stored.job(database, attempt.job_id) for attempt in attempts], timedelta(seconds=20)
    assert [job.lease_expires_at == clock.moment + end for job in jobs] == [True, True, False]
    assert [job.version for job in jobs] == versions


def test_an_attempt_that_has_ended_or_was_superseded_is_neither_renewed_nor_seen(
    database: Database, clock: FrozenClock
) -> None:
    current, ended, superseded = (running(database) for _ in range(3))
    queue_driver.release(database, ended)
    expire(database, superseded)
    claim(database, superseded.job_id)
    before = stored.job(database, superseded.job_id).lease_expires_at
    assert _renew(database, (current, ended, superseded), clock) == {current}
    assert stored.job(database, superseded.job_id).lease_expires_at == before
    assert _look(database, current, ended, superseded).standings == {current: Standing()}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_job_that_another_transaction_has_locked_holds_up_no_other(
    database: Database, clock: FrozenClock
) -> None:
    locked, free = running(database), running(database)
    with Session(database.engine) as session:
        session.execute(select(Job.id).where(Job.id == locked.job_id).with_for_update())
        assert _renew(database, (locked, free), clock) == {free}


def test_a_look_tells_of_cancel_requests_and_preemptions_of_several_attempts(database: Database) -> None:
    registry.worker(database, slots=2, lost_after_s=1e6)
    first, second = running(database), running(database)
    queue_driver.cancel(database, first.job_id)
    urgent = submit(database, priority=Priority.URGENT)
    expected = {first: Standing(cancel_requested=True), second: Standing(urgent_id=urgent)}
    assert _look(database, first, second).standings == expected


@pytest.mark.parametrize("count", [0, 2])
def test_a_look_tells_whether_the_worker_drains_by_the_same_statement(database: Database, count: int) -> None:
    attempts = [running(database) for _ in range(count)]
    assert not _look(database, *attempts, worker="unknown").drains
    registry.worker(database, id="host:1")
    assert not _look(database, *attempts, worker="host:1").drains
    registry.drain(database, "host:1")
    with recorded_statements(database) as statements:
        look = _look(database, *attempts, worker="host:1")
    assert look.drains
    assert set(look.standings) == set(attempts)
    assert len([each for each in statements if not each.is_boundary]) == 1
