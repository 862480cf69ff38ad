"""The queue and the priority of a job can change until it starts; its place changes with them."""

from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Preemption
from shared.errors import JobNotQueued
from shared.lifecycle import EventType
from shared.store import job_edits
from shared.store.rights import LOCAL
from tests.support import queue_driver, registry, stored


def _edit(database: Database, job_id: UUID, **values: str) -> None:
    database.write(partial(job_edits.edit, job_id=job_id, values=values))


def _claimed(database: Database, *queues: str) -> UUID | None:
    claim = queue_driver.claim_next(database, *queues)
    return claim.attempt.job_id if claim else None


def test_a_job_whose_priority_is_raised_starts_before_the_others(database: Database) -> None:
    first, second, third = (queue_driver.submit(database) for _ in range(3))
    _edit(database, third, priority="high")
    assert [_claimed(database) for _ in range(3)] == [third, first, second]
    assert stored.events(database, third)[1].data == {"priority": "high", **LOCAL.by}


def test_a_job_whose_priority_is_lowered_starts_after_the_others(database: Database) -> None:
    first, second = (queue_driver.submit(database) for _ in range(2))
    _edit(database, first, priority="low")
    assert [_claimed(database) for _ in range(2)] == [second, first]


def test_a_job_is_moved_to_the_end_of_its_tenant_in_another_queue(database: Database) -> None:
    moved = queue_driver.submit(database)
    there = [queue_driver.submit(database, queue="gpu") for _ in range(2)]
    _edit(database, moved, queue="gpu")
    assert _claimed(database, "default") is None
    assert [_claimed(database, "gpu") for _ in range(3)] == [*there, moved]


def test_an_edit_that_changes_neither_keeps_the_place(database: Database) -> None:
    job_id = queue_driver.submit(database)
    place = stored.job(database, job_id).place
    queue_driver.submit(database)
    _edit(database, job_id, priority="normal", queue="default", name="again")
    assert stored.job(database, job_id).place == place


@pytest.mark.parametrize("values", [{"priority": "high"}, {"queue": "gpu"}])
def test_a_job_that_has_started_cannot_be_moved(values: dict[str, str], database: Database) -> None:
    attempt = queue_driver.running(database)
    with pytest.raises(JobNotQueued, match="is running"):
        _edit(database, attempt.job_id, **values)
    assert stored.event_types(database, attempt.job_id)[-1] == EventType.CLAIMED


def test_a_job_that_becomes_urgent_preempts_another(database: Database) -> None:
    registry.worker(database)
    running = queue_driver.running(database)
    job_id = queue_driver.submit(database)
    _edit(database, job_id, priority="urgent")
    requests = select(Preemption.victim_id, Preemption.urgent_id)
    assert database.read(lambda session: session.execute(requests).all()) == [(running.job_id, job_id)]
