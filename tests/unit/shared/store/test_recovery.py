"""Recovery from lost workers and lost messages, and the end of queued jobs with a cancel request."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.broker import Hint
from shared.db.engine import Database
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
    set_columns,
    submitted,
    succeeded,
)
from tests.support.fakes import FrozenClock
from tests.support.stored import all_rows

_LEASE_S = 30.0
_LOST_AFTER_S = 8.0


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


def test_a_job_of_a_lost_worker_is_queued_and_resumes_from_its_checkpoint(
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
    job, row = stored.job(database, attempt.job_id), stored.attempt(database, attempt.job_id, attempt.number)
    assert (job.state, job.crashes, job.failures, job.next_epoch) == (JobState.QUEUED, 1, 0, 1)
    assert (job.lease_owner, job.lease_expires_at, job.dispatched_at) == (None, None, None)
    assert (row.outcome, row.error_code, row.finished_at) == ("lost", "worker_lost", clock.moment)
    assert stored.events(database, attempt.job_id)[-1].type == EventType.LEASE_EXPIRED
    assert _claimed(database, clock, attempt.job_id).checkpoint == results.StoredCheckpoint(1, b"after 0")


def test_a_lease_is_valid_until_its_expiry_inclusive(database: Database, clock: FrozenClock) -> None:
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
    before = database.read(all_rows)
    clock.advance(10**9)
    assert _reap(database, clock) == []
    assert database.read(all_rows) == before


def test_every_expired_lease_is_reaped_and_no_other(database: Database, clock: FrozenClock) -> None:
    expired = [_running(database, clock).job_id for _ in range(3)]
    clock.advance(20)
    alive = _running(database, clock).job_id
    clock.advance(15)
    assert _reap(database, clock) == expired
    assert stored.job(database, alive).state == JobState.RUNNING


def test_a_job_fails_after_the_maximum_number_of_crashes(database: Database, clock: FrozenClock) -> None:
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
    assert stored.attempt(database, attempt.job_id, attempt.number).outcome == AttemptOutcome.LOST
    assert stored.events(database, job_id)[-1].data["code"] == "worker_lost"


def test_crashes_and_failures_are_counted_separately(database: Database, clock: FrozenClock) -> None:
    job_id, failure = _submitted(database, clock, max_attempts=2), AttemptFailure("internal", "it broke")
    _claimed(database, clock, job_id)
    clock.advance(_LEASE_S + 1)
    _reap(database, clock, max_crashes=2)
    attempt = _claimed(database, clock, job_id).attempt
    database.write(lambda session: attempts.fail(session, attempt, failure, retry_in_s=0, now=clock))
    job = stored.job(database, job_id)
    assert (job.state, job.crashes, job.failures) == (JobState.QUEUED, 1, 1)


def test_a_job_with_a_cancel_request_is_cancelled_when_its_worker_is_lost(
    database: Database, clock: FrozenClock
) -> None:
    attempt = _running(database, clock)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    clock.advance(_LEASE_S + 1)
    assert _reap(database, clock) == [attempt.job_id]
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.crashes) == (JobState.CANCELLED, 1)
    assert stored.attempt(database, attempt.job_id, attempt.number).outcome == AttemptOutcome.LOST


def test_queued_jobs_with_a_cancel_request_are_cancelled(database: Database, clock: FrozenClock) -> None:
    released, running_on = _running(database, clock), _running(database, clock)
    for attempt in (released, running_on):
        database.write(partial(job_edits.request_cancel, job_id=attempt.job_id, now=clock))
    database.write(lambda session: attempts.release(session, released, now=clock))
    waiting = _submitted(database, clock)
    assert database.write(lambda session: recovery.end_cancelled(session, now=clock)) == [released.job_id]
    assert stored.job(database, released.job_id).state == JobState.CANCELLED
    assert stored.job(database, running_on.job_id).state == JobState.RUNNING
    assert stored.job(database, waiting).state == JobState.QUEUED
    assert database.write(lambda session: recovery.end_cancelled(session, now=clock)) == []


def test_an_undispatched_job_is_taken_once(database: Database, clock: FrozenClock) -> None:
    job_id = _submitted(database, clock, queue="gpu", priority=Priority.HIGH)
    set_columns(database, job_id, dispatched_at=None)
    clock.advance(1)
    assert _take(database, clock, queues=("default", "gpu")) == [Hint(job_id, "gpu", "high")]
    assert stored.job(database, job_id).dispatched_at == clock.moment
    assert _take(database, clock, queues=("default", "gpu")) == []


def test_a_dispatched_job_is_taken_again_only_after_lost_after_s(
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
    due = set_columns(database, _submitted(database, clock), dispatched_at=None)
    later = _submitted(database, clock)
    set_columns(database, later, dispatched_at=None, scheduled_at=clock.moment + timedelta(seconds=1))
    elsewhere = _submitted(database, clock, queue="gpu")
    set_columns(database, elsewhere, dispatched_at=None)
    set_columns(database, _running(database, clock).job_id, dispatched_at=None)
    for finish in (succeeded, failed, cancelled):
        finish(database)
    assert [hint.job_id for hint in _take(database, clock, _LOST_AFTER_S)] == [due]
    clock.advance(1)
    assert [hint.job_id for hint in _take(database, clock, _LOST_AFTER_S)] == [later]


def test_the_oldest_jobs_are_taken_first(database: Database, clock: FrozenClock) -> None:
    waiting = []
    for _ in range(5):
        waiting.append(set_columns(database, _submitted(database, clock), dispatched_at=None))
        clock.advance(1)
    rounds = [[hint.job_id for hint in _take(database, clock, limit=2)] for _ in range(4)]
    assert rounds == [waiting[:2], waiting[2:4], waiting[4:], []]


def test_a_job_marked_undispatched_is_taken_again(database: Database, clock: FrozenClock) -> None:
    job_id, claimed = _submitted(database, clock), _running(database, clock).job_id
    dispatched_at = stored.job(database, claimed).dispatched_at
    unsent = [job_id, claimed]
    database.write(lambda session: dispatch.mark_undispatched(session, unsent))
    assert [hint.job_id for hint in _take(database, clock)] == [job_id]
    assert stored.job(database, claimed).dispatched_at == dispatched_at


def test_dispatched_queued_jobs_are_counted_by_queue(database: Database, clock: FrozenClock) -> None:
    for _ in range(2):
        _submitted(database, clock)
    _submitted(database, clock, queue="gpu")
    set_columns(database, _submitted(database, clock), dispatched_at=None)
    running(database)
    record(database, running(database), 1)
    cancelled(database)
    counts = [
        database.read(lambda session: dispatch.count_dispatched(session, ("default",))),
        database.read(lambda session: dispatch.count_dispatched(session, ("default", "gpu"))),
        database.read(lambda session: dispatch.count_dispatched(session, ("other",))),
    ]
    assert counts == [2, 3, 0]
