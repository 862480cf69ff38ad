"""The end of a job is told to all that wait for it, however many, in batches that wait for nobody."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from threading import Barrier
from uuid import UUID

import pytest
from sqlalchemy import func, select

from shared.db.engine import Database
from shared.db.tables import EndedPredecessor, Job, JobEvent
from shared.errors import JobNotTerminal
from shared.lifecycle import TERMINAL, EventType, JobState
from shared.store import attempts, job_edits, recovery, retention
from shared.store.submissions import NewJobs
from shared.store.submit import submit_jobs
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support import queue_driver, stored
from tests.support.factories import make_model, make_new_job

_FAILURE = AttemptFailure("internal", "it broke")
_MANY = 320  # more than are told at once, and than a batch has


def _fan(database: Database, first: UUID, size: int = _MANY) -> list[UUID]:
    jobs = [make_new_job(after=(first,)) for _ in range(size)]
    database.write(partial(submit_jobs, requests=[NewJobs([job]) for job in jobs]))
    return [job.id for job in jobs]


def _chain(database: Database, first: UUID, size: int = _MANY) -> list[UUID]:
    chain = [first]
    for _ in range(size):
        chain.append(queue_driver.submit(database, after=(chain[-1],)))
    return chain[1:]


def _fail(database: Database, attempt: AttemptId) -> None:
    database.write(partial(attempts.fail, attempt=attempt, failure=_FAILURE, retry_in_s=None))


def _cancel(database: Database, job_id: UUID) -> None:
    database.write(partial(job_edits.request_cancel, job_id=job_id))


def _end_waits(database: Database) -> int:
    return recovery.end_waits(database, for_s=60)


def _count(database: Database, state: JobState) -> int:
    count = select(func.count()).where(Job.state == state)
    return database.read(lambda session: session.scalar(count)) or 0


def _left(database: Database) -> list[UUID]:
    return database.read(lambda session: list(session.scalars(select(EndedPredecessor.job_id))))


def _reasons(database: Database, job_ids: list[UUID]) -> list[str]:
    """The message of the one terminal event of each of these jobs."""
    ends = select(JobEvent.job_id, JobEvent.data).where(JobEvent.type.in_(TERMINAL))
    rows = database.read(lambda session: session.execute(ends).all())
    messages = {row.job_id: row.data.get("message", "") for row in rows}
    assert len(rows) == len(messages)
    return [messages[job_id] for job_id in job_ids]


@pytest.mark.slow
def test_the_end_of_a_long_chain_is_told_in_batches_each_job_with_its_own_reason(database: Database) -> None:
    attempt = queue_driver.running(database)
    chain = _chain(database, attempt.job_id)
    _fail(database, attempt)
    told_at_once = _count(database, JobState.CANCELLED)
    assert 0 < told_at_once < _MANY
    assert told_at_once + _end_waits(database) == _MANY
    assert _count(database, JobState.CANCELLED) == _MANY
    assert _reasons(database, chain) == [
        f"job {attempt.job_id}, which it was to run after, has failed",
        *(f"job {before}, which it was to run after, has been cancelled" for before, _ in pairwise(chain)),
    ]
    assert _left(database) == []
    last = stored.job(database, chain[-1])
    assert [event.seq for event in stored.events(database, last.id)] == [1, last.version]


def test_a_cancel_tells_many_in_batches(database: Database) -> None:
    first = queue_driver.submit(database)
    waiting, other = _fan(database, first), queue_driver.submit(database)
    _cancel(database, first)
    assert _left(database) == [first]
    assert 0 < _end_waits(database) < _MANY
    assert set(_reasons(database, waiting)) == {f"job {first}, which it was to run after, has been cancelled"}
    assert stored.job(database, other).state == JobState.QUEUED
    assert _end_waits(database) == 0


def test_a_success_counts_many_off_in_batches(database: Database) -> None:
    attempt, other = queue_driver.running(database), queue_driver.submit(database)
    waiting = _fan(database, attempt.job_id)
    both = queue_driver.submit(database, after=(attempt.job_id, other))
    queue_driver.succeed(database, attempt, make_model())
    assert _left(database) == [attempt.job_id]
    _end_waits(database)
    counts = select(Job.id, Job.pending_predecessors)
    pending = database.read(lambda session: dict(session.execute(counts).all()))
    assert {pending[job_id] for job_id in waiting} == {0}
    assert pending[both] == 1
    assert _left(database) == []


def test_a_job_that_is_to_be_cancelled_never_starts_meanwhile(database: Database) -> None:
    attempt = queue_driver.running(database)
    other = queue_driver.running(database)
    _fan(database, attempt.job_id)
    both = queue_driver.submit(database, after=(attempt.job_id, other.job_id))
    _fail(database, attempt)
    queue_driver.succeed(database, other, make_model())
    assert stored.job(database, both).state == JobState.QUEUED
    assert queue_driver.claim_next(database) is None
    _end_waits(database)
    assert stored.job(database, both).state == JobState.CANCELLED


def test_a_member_of_a_chain_that_was_cancelled_before_keeps_its_reason(database: Database) -> None:
    first = queue_driver.submit(database)
    chain = _chain(database, first, size=6)
    _cancel(database, chain[2])
    _cancel(database, first)
    assert [stored.job(database, job_id).state for job_id in chain] == [JobState.CANCELLED] * 6
    assert _reasons(database, chain)[2:4] == [
        "",
        f"job {chain[2]}, which it was to run after, has been cancelled",
    ]


def test_a_job_is_deleted_only_when_all_that_wait_for_it_know_of_its_end(database: Database) -> None:
    first = queue_driver.submit(database)
    _fan(database, first)
    _cancel(database, first)
    with pytest.raises(JobNotTerminal, match="try again"):
        database.write(partial(job_edits.delete_job, job_id=first))
    assert database.write(partial(retention.delete_jobs, job_ids=[first])) == 0
    _end_waits(database)
    database.write(partial(job_edits.delete_job, job_id=first))


def test_an_end_waits_for_no_locked_row_and_it_is_told_later(postgresql: Database) -> None:
    attempt = queue_driver.running(postgresql)
    locked, chain = (
        queue_driver.submit(postgresql, after=(attempt.job_id,)),
        _chain(postgresql, attempt.job_id, size=3),
    )
    with postgresql.engine.connect() as connection:
        connection.execute(select(Job.id).where(Job.id == locked).with_for_update())
        _fail(postgresql, attempt)
        assert _end_waits(postgresql) == 0
        states = [stored.job(postgresql, job_id).state for job_id in (*chain, locked)]
        assert states == [*[JobState.CANCELLED] * 3, JobState.QUEUED]
    assert _end_waits(postgresql) == 1
    assert stored.job(postgresql, locked).state == JobState.CANCELLED


def test_no_job_waits_on_after_its_predecessors_have_succeeded_at_the_same_time(database: Database) -> None:
    barrier = Barrier(2)

    def succeed(attempt: AttemptId) -> None:
        barrier.wait(10)
        queue_driver.succeed(database, attempt, make_model())

    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            pair = [queue_driver.running(database), queue_driver.running(database)]
            last = queue_driver.submit(database, after=tuple(attempt.job_id for attempt in pair))
            list(threads.map(succeed, pair))
            _end_waits(database)
            assert stored.job(database, last).pending_predecessors == 0


def test_no_job_is_missed_that_is_submitted_while_a_chain_is_cancelled(database: Database) -> None:
    barrier = Barrier(2)

    def cancel(job_id: UUID) -> None:
        barrier.wait(10)
        _cancel(database, job_id)

    def submit(after: UUID) -> UUID | None:
        barrier.wait(10)
        new = make_new_job(after=(after,))
        [outcome] = database.write(partial(submit_jobs, requests=[NewJobs([new])]))
        return None if isinstance(outcome, Exception) else new.id

    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            first = queue_driver.submit(database)
            chain = _chain(database, first, size=3)
            cancelling, submitting = threads.submit(cancel, first), threads.submit(submit, chain[-1])
            cancelling.result(20)
            added = submitting.result(20)
            _end_waits(database)
            assert added is None or stored.job(database, added).state == JobState.CANCELLED
    assert _count(database, JobState.QUEUED) == 0


def test_the_event_of_a_cancelled_job_is_not_before_the_one_before_it(database: Database) -> None:
    first = queue_driver.submit(database)
    [second] = _chain(database, first, size=1)
    later = database.read(lambda session: session.get_one(JobEvent, (second, 1))).at
    _cancel(database, first)
    [_, cancelled] = stored.events(database, second)
    assert cancelled.type == EventType.CANCELLED
    assert cancelled.at >= later
