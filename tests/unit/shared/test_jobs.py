"""What each function that clients use does when nothing is in its way."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete
from uuid_utils.compat import uuid7

from shared import attempts, jobs
from shared.clock import Now, database_now
from shared.db import Database
from shared.errors import IdempotencyKeyReused, JobAlreadyFinished, JobNotFound
from shared.jobs import Idempotency, NewJob
from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.schemas import Priority
from shared.tables import IdempotencyKey, Job
from tests import stored
from tests.factories import (
    cancelled,
    failed,
    make_model,
    make_new_job,
    running,
    submitted,
    succeeded,
)
from tests.fakes import FrozenClock
from tests.snapshots import everything


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


def _submit(
    database: Database, new: NewJob, key: Idempotency | None = None, now: Now = database_now
) -> tuple[UUID, bool]:
    return database.write(lambda session: jobs.submit(session, new, idempotency=key, now=now))


def test_a_submitted_job_is_queued_and_counts_as_dispatched(database: Database, clock: FrozenClock) -> None:
    new = make_new_job(
        name="first", tags=("a", "b"), queue="gpu", priority=Priority.HIGH, max_attempts=2, max_runtime_s=60.0
    )
    assert _submit(database, new, now=clock) == (new.id, True)
    job = stored.job(database, new.id)
    assert (job.state, job.version, job.attempt, job.next_epoch) == (JobState.QUEUED, 1, 0, 0)
    assert {job.created_at, job.scheduled_at, job.dispatched_at} == {clock.moment}
    assert (job.name, job.tags, job.queue, job.priority) == ("first", ["a", "b"], "gpu", "high")
    assert (job.max_attempts, job.max_runtime_s) == (2, 60.0)
    assert job.spec == new.spec.model_dump(mode="json")
    [event] = stored.events(database, new.id)
    assert (event.seq, event.type, event.attempt, event.at) == (1, EventType.SUBMITTED, 0, clock.moment)


def test_one_key_with_one_request_is_one_job(database: Database) -> None:
    first, again, key = make_new_job(), make_new_job(), Idempotency("k", "a" * 64)
    assert _submit(database, first, key) == (first.id, True)
    assert _submit(database, again, key) == (first.id, False)
    assert database.read(lambda session: session.get(Job, again.id)) is None


def test_one_key_with_another_request_is_refused_and_nothing_is_stored(database: Database) -> None:
    _submit(database, make_new_job(), Idempotency("k", "a" * 64))
    before = database.read(everything)
    with pytest.raises(IdempotencyKeyReused, match="'k' came with another request"):
        _submit(database, make_new_job(), Idempotency("k", "b" * 64))
    assert database.read(everything) == before


def test_a_key_goes_with_its_job(database: Database) -> None:
    new = make_new_job()
    _submit(database, new, Idempotency("k", "a" * 64))
    database.write(lambda session: session.execute(delete(Job).where(Job.id == new.id)))
    assert database.read(lambda session: session.get(IdempotencyKey, "k")) is None


def test_a_queued_job_is_cancelled_at_once(database: Database, clock: FrozenClock) -> None:
    job_id = submitted(database)
    database.write(lambda session: jobs.request_cancel(session, job_id, now=clock))
    job = stored.job(database, job_id)
    assert (job.state, job.cancel_requested_at, job.finished_at) == ("cancelled", clock.moment, clock.moment)
    assert stored.event_types(database, job_id) == ["submitted", "cancelled"]


def test_a_running_job_is_asked_and_ends_when_its_worker_has_heard(
    database: Database, clock: FrozenClock
) -> None:
    attempt = running(database)
    database.write(lambda session: jobs.request_cancel(session, attempt.job_id, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.cancel_requested_at) == (JobState.RUNNING, clock.moment)
    database.write(lambda session: attempts.cancel_attempt(session, attempt, now=clock))
    assert stored.job(database, attempt.job_id).state == JobState.CANCELLED
    assert stored.attempt(database, attempt.job_id, 1).outcome == AttemptOutcome.CANCELLED
    assert stored.event_types(database, attempt.job_id)[2:] == ["cancel_requested", "cancelled"]


def test_a_worker_that_was_quicker_than_the_cancel_request_has_succeeded(database: Database) -> None:
    attempt = running(database)
    database.write(lambda session: jobs.request_cancel(session, attempt.job_id))
    database.write(lambda session: attempts.succeed_training(session, attempt, make_model()))
    assert stored.job(database, attempt.job_id).state == JobState.SUCCEEDED


def test_asking_twice_to_cancel_is_asking_once(database: Database, clock: FrozenClock) -> None:
    attempt = running(database)
    database.write(lambda session: jobs.request_cancel(session, attempt.job_id, now=clock))
    before = database.read(everything)
    clock.advance(1)
    database.write(lambda session: jobs.request_cancel(session, attempt.job_id, now=clock))
    assert database.read(everything) == before
    job_id = cancelled(database)
    before = database.read(everything)
    database.write(lambda session: jobs.request_cancel(session, job_id, now=clock))
    assert database.read(everything) == before


def test_a_job_that_was_given_back_after_the_request_is_cancelled_by_asking_again(
    database: Database, clock: FrozenClock
) -> None:
    attempt, asked_at = running(database), clock.moment
    database.write(lambda session: jobs.request_cancel(session, attempt.job_id, now=clock))
    database.write(lambda session: attempts.release(session, attempt))
    clock.advance(1)
    database.write(lambda session: jobs.request_cancel(session, attempt.job_id, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.cancel_requested_at, job.finished_at) == ("cancelled", asked_at, clock.moment)


@pytest.mark.parametrize("finish", [lambda database: succeeded(database)[0], failed])
def test_a_finished_job_cannot_be_cancelled(database: Database, finish: Any) -> None:
    job_id = finish(database)
    before = database.read(everything)
    with pytest.raises(JobAlreadyFinished, match=r"has (succeeded|failed) already"):
        database.write(lambda session: jobs.request_cancel(session, job_id))
    assert database.read(everything) == before


def test_an_unknown_job_cannot_be_cancelled(database: Database) -> None:
    with pytest.raises(JobNotFound):
        database.write(lambda session: jobs.request_cancel(session, uuid7()))
