"""A job starts after those that it names have succeeded, and is cancelled if one of them does not."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import Job
from shared.errors import JobNotFound, PredecessorFailed, TooManyWait
from shared.lifecycle import EventType, JobState
from shared.schemas import WaitingFor
from shared.store import attempts, dependencies, dispatch, job_edits, waits
from shared.store.submissions import NewJobs, Receipt
from shared.store.submit import submit_job, submit_jobs
from shared.store.transitions import AttemptFailure
from tests.support import queue_driver, registry, stored
from tests.support.factories import make_model, make_new_job

_FAILURE = AttemptFailure("internal", "it broke")


def _succeed(database: Database) -> UUID:
    """Run the next job, and return its id."""
    claim = queue_driver.claim_next(database)
    assert claim is not None
    queue_driver.succeed(database, claim.attempt, make_model())
    return claim.attempt.job_id


def _state(database: Database, job_id: UUID) -> str:
    return stored.job(database, job_id).state


def test_a_job_starts_after_its_predecessors_have_succeeded(database: Database) -> None:
    first, second = queue_driver.submit(database), queue_driver.submit(database)
    last = queue_driver.submit(database, after=(first, second))
    assert database.read(partial(dependencies.predecessors, job_id=last)) == [first, second]
    assert [_succeed(database), _succeed(database)] == [first, second]
    assert _succeed(database) == last


def test_a_job_does_not_start_while_a_predecessor_waits_or_runs(database: Database) -> None:
    first, second = queue_driver.submit(database), queue_driver.submit(database)
    queue_driver.submit(database, after=(first, second))
    assert _succeed(database) == first
    assert queue_driver.claim_next(database) is not None  # the second one
    assert queue_driver.claim_next(database) is None
    assert database.read(partial(dispatch.due, queues=["default"], limit=9)) == {}


def test_a_job_whose_predecessors_have_succeeded_before_starts_at_once(database: Database) -> None:
    done, _ = queue_driver.succeeded(database)
    last = queue_driver.submit(database, after=(done,))
    assert _succeed(database) == last


def test_a_job_that_waits_for_others_is_passed_by_later_ones(database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.submit(database, after=(attempt.job_id,))
    later = queue_driver.submit(database)
    assert _succeed(database) == later


def test_a_failure_cancels_all_jobs_that_were_to_run_after_it(database: Database) -> None:
    attempt = queue_driver.running(database)
    second = queue_driver.submit(database, after=(attempt.job_id,))
    third = queue_driver.submit(database, after=(second,))
    other = queue_driver.submit(database)
    database.write(partial(attempts.fail, attempt=attempt, failure=_FAILURE, retry_in_s=None))
    assert [_state(database, each) for each in (second, third, other)] == ["cancelled", "cancelled", "queued"]
    event = stored.events(database, second)[-1]
    assert event.type == EventType.CANCELLED
    assert event.data["message"] == f"job {attempt.job_id}, which it was to run after, has failed"


def test_a_cancelled_predecessor_cancels_them_too(database: Database) -> None:
    first = queue_driver.submit(database)
    second = queue_driver.submit(database, after=(first,))
    database.write(partial(job_edits.request_cancel, job_id=first))
    assert _state(database, second) == JobState.CANCELLED


def test_a_predecessor_that_is_tried_again_keeps_them_waiting(database: Database) -> None:
    attempt = queue_driver.running(database)
    second = queue_driver.submit(database, after=(attempt.job_id,))
    database.write(partial(attempts.fail, attempt=attempt, failure=_FAILURE, retry_in_s=0.0))
    assert _state(database, second) == JobState.QUEUED
    assert [_succeed(database), _succeed(database)] == [attempt.job_id, second]


def test_a_job_that_was_cancelled_meanwhile_stays_cancelled(database: Database) -> None:
    attempt = queue_driver.running(database)
    second = queue_driver.submit(database, after=(attempt.job_id,))
    database.write(partial(job_edits.request_cancel, job_id=second))
    queue_driver.succeed(database, attempt, make_model())
    assert _state(database, second) == JobState.CANCELLED


def test_a_report_that_is_repeated_counts_once(database: Database) -> None:
    attempt, other = queue_driver.running(database), queue_driver.running(database)
    last = queue_driver.submit(database, after=(attempt.job_id, other.job_id))
    model = make_model()
    for _ in range(2):
        queue_driver.succeed(database, attempt, model)
    assert stored.job(database, last).pending_predecessors == 1


def test_a_job_after_one_that_has_failed_is_refused(database: Database) -> None:
    failed = queue_driver.failed(database)
    with pytest.raises(PredecessorFailed, match=f"job {failed} has failed"):
        queue_driver.submit(database, after=(failed,))


def test_a_job_after_one_that_does_not_exist_is_refused(database: Database) -> None:
    missing = uuid7()
    with pytest.raises(JobNotFound, match=str(missing)):
        queue_driver.submit(database, after=(missing,))


def test_a_submission_that_is_repeated_after_the_predecessor_has_failed_is_found(database: Database) -> None:
    attempt = queue_driver.running(database)
    new = make_new_job(after=(attempt.job_id,))
    submit = partial(submit_job, new=new)
    first = database.write(submit)
    database.write(partial(attempts.fail, attempt=attempt, failure=_FAILURE, retry_in_s=None))
    assert database.write(submit) == first


def test_a_predecessor_that_has_succeeded_can_be_deleted(database: Database) -> None:
    attempt = queue_driver.running(database)
    second = queue_driver.submit(database, after=(attempt.job_id,))
    queue_driver.succeed(database, attempt, make_model())
    database.write(partial(job_edits.delete_job, job_id=attempt.job_id))
    assert _succeed(database) == second


def test_why_it_waits_is_told(database: Database) -> None:
    registry.worker(database)
    second = queue_driver.submit(database, after=(queue_driver.submit(database),))
    wait = database.read(lambda session: waits.of_job(session, session.get_one(Job, second)))
    assert wait.waiting_for is WaitingFor.PREDECESSORS


def test_no_job_waits_for_one_that_ends_while_it_is_submitted(database: Database) -> None:
    barrier = Barrier(2)

    def succeed() -> None:
        attempt = attempts_to_end.pop()
        barrier.wait(10)
        queue_driver.succeed(database, attempt, make_model())

    def submit(after: UUID) -> UUID:
        barrier.wait(10)
        return queue_driver.submit(database, after=(after,))

    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            attempt = queue_driver.running(database)
            attempts_to_end = [attempt]
            ending, submitting = threads.submit(succeed), threads.submit(submit, attempt.job_id)
            ending.result(20)
            assert stored.job(database, submitting.result(20)).pending_predecessors == 0


def test_a_job_after_one_that_too_many_are_to_run_after_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "MAX_WAITING", 3)
    first, other = queue_driver.submit(database), queue_driver.submit(database)
    waiting = [queue_driver.submit(database, after=(first,)) for _ in range(2)]
    jobs = [make_new_job(after=(first, other)) for _ in range(2)]
    outcomes = database.write(partial(submit_jobs, requests=[NewJobs([job]) for job in jobs]))
    assert [type(outcome) for outcome in outcomes] == [Receipt, TooManyWait]
    assert f"at most 3 jobs can run after job {first}" in str(outcomes[1])
    assert queue_driver.submit(database, after=(waiting[0], other))


def test_a_job_at_the_end_of_too_long_a_chain_is_refused_until_the_chain_has_moved_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "MAX_WAITING", 3)
    chain = [queue_driver.submit(database)]
    for _ in range(3):
        chain.append(queue_driver.submit(database, after=(chain[-1],)))
    with pytest.raises(TooManyWait, match=f"job {chain[-1]} is the last of 3 jobs"):
        queue_driver.submit(database, after=(chain[-1],))
    for _ in range(20):  # a chain that moves on is never too long
        _succeed(database)
        chain.append(queue_driver.submit(database, after=(chain[-1],)))


def test_a_chain_is_followed_through_the_predecessors_that_wait_longest(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "MAX_WAITING", 3)
    first, short = queue_driver.submit(database), queue_driver.submit(database)
    second = queue_driver.submit(database, after=(first,))
    third = queue_driver.submit(database, after=(second, short))
    fourth = queue_driver.submit(database, after=(short, third, first))
    with pytest.raises(TooManyWait, match=f"job {fourth}"):
        queue_driver.submit(database, after=(short, fourth))
