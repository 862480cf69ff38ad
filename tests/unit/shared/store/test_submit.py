"""Submission: one job for one idempotency key."""

from uuid import UUID

import pytest
from sqlalchemy import delete

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import IdempotencyKey, Job
from shared.errors import IdempotencyKeyReused
from shared.lifecycle import EventType, JobState
from shared.schemas import (
    Priority,
)
from shared.store.submit import Idempotency, NewJob, submit_job
from tests.support import stored
from tests.support.factories import make_new_job
from tests.support.fakes import FrozenClock
from tests.support.stored import all_rows


def _submit(
    database: Database, new: NewJob, key: Idempotency | None = None, now: Now = database_now
) -> tuple[UUID, bool]:
    return database.write(lambda session: submit_job(session, new, idempotency=key, now=now))


def test_a_submitted_job_is_queued(database: Database, clock: FrozenClock) -> None:
    new = make_new_job(
        name="first", tags=("a", "b"), queue="gpu", priority=Priority.HIGH, max_attempts=2, max_runtime_s=60.0
    )
    assert _submit(database, new, now=clock) == (new.id, True)
    job = stored.job(database, new.id)
    assert (job.state, job.version, job.attempt, job.next_epoch) == (JobState.QUEUED, 1, 0, 0)
    assert {job.created_at, job.scheduled_at} == {clock.moment}
    assert (job.name, job.tags, job.queue, job.priority) == ("first", ["a", "b"], "gpu", "high")
    assert (job.max_attempts, job.max_runtime_s) == (2, 60.0)
    assert job.spec == new.spec.model_dump(mode="json")
    [event] = stored.events(database, new.id)
    assert (event.seq, event.type, event.attempt, event.at) == (1, EventType.SUBMITTED, 0, clock.moment)


def test_a_request_repeated_with_its_idempotency_key_returns_the_first_job(database: Database) -> None:
    first, again, key = make_new_job(), make_new_job(), Idempotency("k", "a" * 64)
    assert _submit(database, first, key) == (first.id, True)
    assert _submit(database, again, key) == (first.id, False)
    assert database.read(lambda session: session.get(Job, again.id)) is None


def test_another_request_with_a_used_idempotency_key_is_refused(database: Database) -> None:
    _submit(database, make_new_job(), Idempotency("k", "a" * 64))
    before = database.read(all_rows)
    with pytest.raises(IdempotencyKeyReused, match="'k' was used for a different request"):
        _submit(database, make_new_job(), Idempotency("k", "b" * 64))
    assert database.read(all_rows) == before


def test_a_deleted_job_takes_its_idempotency_key_with_it(database: Database) -> None:
    new = make_new_job()
    _submit(database, new, Idempotency("k", "a" * 64))
    database.write(lambda session: session.execute(delete(Job).where(Job.id == new.id)))
    assert database.read(lambda session: session.get(IdempotencyKey, "k")) is None
