"""What is done about lost workers, lost messages and jobs that were cancelled meanwhile."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import select, update
from uuid_utils.compat import uuid7

from shared.broker import Hint
from shared.db.engine import Database
from shared.db.tables import Attempt, Job, JobEvent
from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.schemas import Priority
from shared.store import attempts, dispatch, job_edits, recovery, results
from shared.store.attempts import Claim
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support import stored
from tests.support.factories import (
    cancelled,
    failed,
    make_epoch,
    make_new_job,
    make_worker_info,
    record,
    running,
    submitted,
    succeeded,
)
from tests.support.fakes import FrozenClock
from tests.support.snapshots import everything

_LEASE_S = 30.0
_LOST_AFTER_S = 8.0


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


def _submitted(database: Database, clock: FrozenClock, **overrides: object) -> UUID:
    new = make_new_job(**overrides)
    database.write(lambda session: submit_job(session, new, now=clock))
    return new.id


def _claimed(database: Database, clock: FrozenClock, job_id: UUID) -> Claim:
    owner = f"worker-1/{uuid7()}"
    claim = database.write(
        lambda session: attempts.claim(
            session, job_id, worker=make_worker_info(), owner=owner, lease_s=_LEASE_S, now=clock
        )
    )
    assert claim is not None
    return claim


def _running(database: Database, clock: FrozenClock, **overrides: object) -> AttemptId:
    return _claimed(database, clock, _submitted(database, clock, **overrides)).attempt


def _reap(database: Database, clock: FrozenClock, max_crashes: int = 3) -> list[UUID]:
    return database.write(lambda session: recovery.reap(session, max_crashes=max_crashes, now=clock))


def _take(
    database: Database,
    clock: FrozenClock,
    lost_after_s: float | None = None,
    *,
    queues: Sequence[str] = ("default",),
    limit: int = 1_000,
) -> list[Hint]:
    return database.write(
        lambda session: dispatch.take_undispatched(
            session, queues, lost_after_s=lost_after_s, limit=limit, now=clock
        )
    )


def _attempt(database: Database, attempt: AttemptId) -> Attempt:
    return database.read(lambda session: session.get_one(Attempt, (attempt.job_id, attempt.number)))


def _last_event(database: Database, job_id: UUID) -> JobEvent:
    events = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq.desc()).limit(1)
    return database.read(lambda session: session.scalars(events).one())


def _set(database: Database, job_id: UUID, **values: object) -> UUID:
    database.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(**values)))
    return job_id


def test_a_job_whose_worker_was_lost_goes_back_to_its_last_epoch(
    database: Database, clock: FrozenClock
) -> None:
    attempt = _running(database, clock)
    database.write(
        lambda session: attempts.record(
            session, attempt, [make_epoch(0)], b"after 0", lease_s=_LEASE_S, now=clock
        )
    )
    clock.advance(_LEASE_S + 0.001)
    assert _reap(database, clock) == [attempt.job_id]
    job, row = stored.job(database, attempt.job_id), _attempt(database, attempt)
    assert (job.state, job.crashes, job.failures, job.next_epoch) == (JobState.QUEUED, 1, 0, 1)
    assert (job.lease_owner, job.lease_expires_at, job.dispatched_at) == (None, None, None)
    assert (row.outcome, row.error_code, row.finished_at) == ("lost", "worker_lost", clock.moment)
    assert _last_event(database, attempt.job_id).type == EventType.LEASE_EXPIRED
    assert _claimed(database, clock, attempt.job_id).checkpoint == results.StoredCheckpoint(1, b"after 0")


def test_a_lease_holds_until_its_last_moment(database: Database, clock: FrozenClock) -> None:
    attempt = _running(database, clock)
    clock.advance(_LEASE_S)
    assert _reap(database, clock) == []
    database.write(lambda session: attempts.renew(session, attempt, lease_s=_LEASE_S, now=clock))
    clock.advance(_LEASE_S)
    assert _reap(database, clock) == []
    clock.advance(0.001)
    assert _reap(database, clock) == [attempt.job_id]


def test_only_running_jobs_are_reaped(database: Database, clock: FrozenClock) -> None:
    submitted(database)
    succeeded(database)
    failed(database)
    cancelled(database)
    before = database.read(everything)
    clock.advance(10**9)
    assert _reap(database, clock) == []
    assert database.read(everything) == before


def test_every_expired_lease_is_reaped_and_no_other(database: Database, clock: FrozenClock) -> None:
    expired = [_running(database, clock).job_id for _ in range(3)]
    clock.advance(20)
    alive = _running(database, clock).job_id
    clock.advance(15)
    assert _reap(database, clock) == expired
    assert stored.job(database, alive).state == JobState.RUNNING


def test_a_job_that_loses_every_worker_ends(database: Database, clock: FrozenClock) -> None:
    job_id, states = _submitted(database, clock), []
    for _ in range(3):
        attempt = _claimed(database, clock, job_id).attempt
        clock.advance(_LEASE_S + 1)
        _reap(database, clock, max_crashes=3)
        states.append(stored.job(database, job_id).state)
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    job = stored.job(database, job_id)
    assert (job.crashes, job.error_code, job.finished_at) == (3, "worker_lost", clock.moment)
    assert job.error_message == "3 workers were lost while they ran this job; the attempts say which"
    assert _attempt(database, attempt).outcome == AttemptOutcome.LOST
    assert _last_event(database, job_id).data["code"] == "worker_lost"


def test_crashes_and_failures_are_counted_apart(database: Database, clock: FrozenClock) -> None:
    job_id, failure = _submitted(database, clock, max_attempts=2), AttemptFailure("internal", "it broke")
    _claimed(database, clock, job_id)
    clock.advance(_LEASE_S + 1)
    _reap(database, clock, max_crashes=2)
    attempt = _claimed(database, clock, job_id).attempt
    database.write(lambda session: attempts.fail(session, attempt, failure, retry_in_s=0, now=clock))
    job = stored.job(database, job_id)
    assert (job.state, job.crashes, job.failures) == (JobState.QUEUED, 1, 1)


def test_a_lost_worker_that_was_to_cancel_leaves_a_cancelled_job(
    database: Database, clock: FrozenClock
) -> None:
    attempt = _running(database, clock)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    clock.advance(_LEASE_S + 1)
    assert _reap(database, clock) == [attempt.job_id]
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.crashes) == (JobState.CANCELLED, 1)
    assert _attempt(database, attempt).outcome == AttemptOutcome.LOST


def test_queued_jobs_that_were_to_be_cancelled_end(database: Database, clock: FrozenClock) -> None:
    given_back, running_on = _running(database, clock), _running(database, clock)
    for attempt in (given_back, running_on):
        database.write(partial(job_edits.request_cancel, job_id=attempt.job_id, now=clock))
    database.write(lambda session: attempts.release(session, given_back, now=clock))
    waiting = _submitted(database, clock)
    assert database.write(lambda session: recovery.end_cancelled(session, now=clock)) == [given_back.job_id]
    assert stored.job(database, given_back.job_id).state == JobState.CANCELLED
    assert stored.job(database, running_on.job_id).state == JobState.RUNNING
    assert stored.job(database, waiting).state == JobState.QUEUED
    assert database.write(lambda session: recovery.end_cancelled(session, now=clock)) == []


def test_what_was_never_sent_is_taken_once(database: Database, clock: FrozenClock) -> None:
    job_id = _submitted(database, clock, queue="gpu", priority=Priority.HIGH)
    _set(database, job_id, dispatched_at=None)
    clock.advance(1)
    assert _take(database, clock, queues=("default", "gpu")) == [Hint(job_id, "gpu", "high")]
    assert stored.job(database, job_id).dispatched_at == clock.moment
    assert _take(database, clock, queues=("default", "gpu")) == []


def test_what_was_sent_is_taken_again_only_when_it_may_be_lost(
    database: Database, clock: FrozenClock
) -> None:
    job_id = _submitted(database, clock)
    clock.advance(_LOST_AFTER_S)
    assert _take(database, clock, _LOST_AFTER_S) == []
    clock.advance(0.001)
    assert _take(database, clock, None) == []
    assert _take(database, clock, _LOST_AFTER_S) == [Hint(job_id, "default", "normal")]
    assert _take(database, clock, _LOST_AFTER_S) == []


def test_only_queued_jobs_that_are_due_are_taken(database: Database, clock: FrozenClock) -> None:
    due = _set(database, _submitted(database, clock), dispatched_at=None)
    later = _submitted(database, clock)
    _set(database, later, dispatched_at=None, scheduled_at=clock.moment + timedelta(seconds=1))
    elsewhere = _submitted(database, clock, queue="gpu")
    _set(database, elsewhere, dispatched_at=None)
    _set(database, _running(database, clock).job_id, dispatched_at=None)
    for finish in (succeeded, failed, cancelled):
        finish(database)
    assert [hint.job_id for hint in _take(database, clock, _LOST_AFTER_S)] == [due]
    clock.advance(1)
    assert [hint.job_id for hint in _take(database, clock, _LOST_AFTER_S)] == [later]


def test_the_oldest_are_taken_first(database: Database, clock: FrozenClock) -> None:
    waiting = []
    for _ in range(5):
        waiting.append(_set(database, _submitted(database, clock), dispatched_at=None))
        clock.advance(1)
    rounds = [[hint.job_id for hint in _take(database, clock, limit=2)] for _ in range(4)]
    assert rounds == [waiting[:2], waiting[2:4], waiting[4:], []]


def test_what_could_not_be_sent_is_taken_again(database: Database, clock: FrozenClock) -> None:
    job_id, claimed_meanwhile = _submitted(database, clock), _running(database, clock).job_id
    dispatched_at = stored.job(database, claimed_meanwhile).dispatched_at
    unsent = [job_id, claimed_meanwhile]
    database.write(lambda session: dispatch.mark_undispatched(session, unsent))
    assert [hint.job_id for hint in _take(database, clock)] == [job_id]
    assert stored.job(database, claimed_meanwhile).dispatched_at == dispatched_at


def test_the_messages_that_should_be_waiting_are_counted(database: Database, clock: FrozenClock) -> None:
    for _ in range(2):
        _submitted(database, clock)
    _submitted(database, clock, queue="gpu")
    _set(database, _submitted(database, clock), dispatched_at=None)
    running(database)
    record(database, running(database), 1)
    cancelled(database)
    counts = [
        database.read(lambda session: dispatch.count_dispatched(session, ("default",))),
        database.read(lambda session: dispatch.count_dispatched(session, ("default", "gpu"))),
        database.read(lambda session: dispatch.count_dispatched(session, ("other",))),
    ]
    assert counts == [2, 3, 0]
