"""Submission: requests become queued jobs."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.errors import IdempotencyKeyReused, JobNotFound
from shared.lifecycle import EventType, JobState
from shared.schemas import (
    Priority,
)
from shared.store import job_edits
from shared.store.idempotency import Idempotency, find_replay
from shared.store.submissions import NewJob, NewJobs, Receipt
from shared.store.submit import submit_job, submit_jobs
from tests.support import queue_driver, stored
from tests.support.factories import make_new_job
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import cancelled


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


def test_a_retry_of_a_deleted_job_is_refused_alone_and_leaves_no_key(database: Database) -> None:
    deleted, source, key = uuid4(), queue_driver.submit(database), Idempotency("k", "a" * 64)
    refused = NewJobs([make_new_job(retry_of=deleted)], key)
    accepted = [NewJobs([make_new_job()]), NewJobs([make_new_job(retry_of=source)])]
    requests = [accepted[0], refused, accepted[1]]
    first, second, third = database.write(lambda session: submit_jobs(session, requests))
    assert isinstance(second, JobNotFound)
    assert str(deleted) in str(second)
    assert [outcome.job_id for outcome in (first, third) if isinstance(outcome, Receipt)] == [
        new.id for new in accepted
    ]
    assert database.read(lambda session: find_replay(session, key)) is None
    with pytest.raises(JobNotFound):
        database.write(lambda session: submit_job(session, refused.jobs[0]))


def test_a_retry_whose_commit_was_not_confirmed_is_found_although_its_source_is_deleted(
    database: Database,
) -> None:
    source, key = cancelled(database), Idempotency("k", "a" * 64)
    new = NewJobs([make_new_job(retry_of=source)], key)
    [first] = database.write(lambda session: submit_jobs(session, [new]))
    database.write(lambda session: job_edits.delete_job(session, source))
    [again] = database.write(lambda session: submit_jobs(session, [new]))
    assert isinstance(first, Receipt)
    assert first == again


def test_a_source_is_not_deleted_before_its_retry_is_stored(postgresql: Database) -> None:
    source = cancelled(postgresql)
    new = make_new_job(retry_of=source)

    def delete(session: Session) -> None:
        session.execute(text("SET LOCAL lock_timeout = '1ms'"))  # whoever waits for a row fails
        job_edits.delete_job(session, source)

    def submit(session: Session) -> None:
        submit_job(session, new)
        with (
            Session(postgresql.engine) as other,
            pytest.raises(OperationalError, match="lock timeout"),
        ):
            delete(other)

    postgresql.write(submit)
    postgresql.write(lambda session: job_edits.delete_job(session, source))
    assert stored.job(postgresql, new.id).retry_of == source


def _end(database: Database, job_id: UUID, *, is_deleted: bool) -> None:
    """Cancel a job, or delete it after its end."""
    database.write(lambda session: job_edits.request_cancel(session, job_id))
    if is_deleted:
        database.write(lambda session: job_edits.delete_job(session, job_id))


@pytest.mark.parametrize("is_deleted", [False, True])
@pytest.mark.parametrize("named", ["after", "retry_of"])
def test_a_repeated_request_finds_its_job_whatever_became_of_those_that_it_names(
    database: Database, named: str, is_deleted: bool
) -> None:
    source, key = queue_driver.submit(database), Idempotency("k", "a" * 64)
    names = {named: (source,) if named == "after" else source}
    first = make_new_job(**names)
    assert _submit(database, first, key) == (first.id, True)
    _end(database, source, is_deleted=is_deleted)
    assert _submit(database, make_new_job(**names), key) == (first.id, False)
    other = NewJobs([make_new_job(**names)], Idempotency("k", "b" * 64))
    assert isinstance(database.write(lambda session: submit_jobs(session, [other]))[0], IdempotencyKeyReused)


def test_requests_with_the_key_of_a_refused_one_are_refused_and_leave_it_free(database: Database) -> None:
    key, missing = Idempotency("k", "a" * 64), uuid4()
    requests = [NewJobs([make_new_job(after=(missing,))], key) for _ in range(2)]
    outcomes = database.write(lambda session: submit_jobs(session, requests))
    assert [type(outcome) for outcome in outcomes] == [JobNotFound, JobNotFound]
    new = make_new_job()
    assert _submit(database, new, Idempotency("k", "b" * 64)) == (new.id, True)
