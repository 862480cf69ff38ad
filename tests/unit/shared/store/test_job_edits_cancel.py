"""Cancellation: queued jobs end at once, running jobs when their worker reports it."""

from typing import Any

import pytest
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.errors import JobAlreadyFinished, JobNotFound
from shared.lifecycle import AttemptOutcome, JobState
from shared.store import attempts, job_edits
from tests.support import stored
from tests.support.factories import make_model
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import cancelled, failed, running, submit, succeed_attempt, succeeded
from tests.support.stored import all_rows


def test_a_queued_job_is_cancelled_at_once(database: Database, clock: FrozenClock) -> None:
    job_id = submit(database)
    database.write(lambda session: job_edits.request_cancel(session, job_id, now=clock))
    job = stored.job(database, job_id)
    assert (job.state, job.cancel_requested_at, job.finished_at) == ("cancelled", clock.moment, clock.moment)
    assert stored.event_types(database, job_id) == ["submitted", "cancelled"]


def test_a_running_job_ends_when_its_worker_sees_the_request(database: Database, clock: FrozenClock) -> None:
    attempt = running(database)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.cancel_requested_at) == (JobState.RUNNING, clock.moment)
    database.write(lambda session: attempts.cancel_attempt(session, attempt, now=clock))
    assert stored.job(database, attempt.job_id).state == JobState.CANCELLED
    assert stored.attempt(database, attempt.job_id, 1).outcome == AttemptOutcome.CANCELLED
    assert stored.event_types(database, attempt.job_id)[2:] == ["cancel_requested", "cancelled"]


def test_a_success_reported_before_the_worker_noticed_the_request_is_stored(database: Database) -> None:
    attempt = running(database)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
    database.write(lambda session: succeed_attempt(session, attempt, make_model().produced))
    assert stored.job(database, attempt.job_id).state == JobState.SUCCEEDED


def test_a_cancel_request_is_idempotent(database: Database, clock: FrozenClock) -> None:
    attempt = running(database)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    before = database.read(all_rows)
    clock.advance(1)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    assert database.read(all_rows) == before
    job_id = cancelled(database)
    before = database.read(all_rows)
    database.write(lambda session: job_edits.request_cancel(session, job_id, now=clock))
    assert database.read(all_rows) == before


def test_a_job_released_after_a_cancel_request_is_cancelled_by_the_next_request(
    database: Database, clock: FrozenClock
) -> None:
    attempt, requested_at = running(database), clock.moment
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    database.write(lambda session: attempts.release(session, attempt))
    clock.advance(1)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.cancel_requested_at, job.finished_at) == ("cancelled", requested_at, clock.moment)


@pytest.mark.parametrize("finish", [lambda database: succeeded(database)[0], failed])
def test_a_finished_job_cannot_be_cancelled(database: Database, finish: Any) -> None:
    job_id = finish(database)
    before = database.read(all_rows)
    with pytest.raises(JobAlreadyFinished, match=r"has already (succeeded|failed)"):
        database.write(lambda session: job_edits.request_cancel(session, job_id))
    assert database.read(all_rows) == before


def test_an_unknown_job_cannot_be_cancelled(database: Database) -> None:
    with pytest.raises(JobNotFound):
        database.write(lambda session: job_edits.request_cancel(session, uuid7()))
