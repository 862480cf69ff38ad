"""Recovery from lost workers and lost messages, and the end of queued jobs with a cancel request."""

from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from shared.db.engine import Database
from shared.lifecycle import AttemptOutcome, EventType, JobKind, JobState
from shared.retry import MAX_DELAY_S
from shared.schemas import LogLevel
from shared.store import attempts, claims, job_edits, job_logs, leases, recovery, results
from shared.store.claims import Claim
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support import queue_driver, stored
from tests.support.factories import make_epoch, make_new_job, make_progress, make_worker_info
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import cancelled, failed, submit, succeeded
from tests.support.registry import worker
from tests.support.stored import all_rows, set_columns

_LEASE_S = 30.0


def _submitted(database: Database, clock: FrozenClock, **overrides: object) -> UUID:
    new = make_new_job(**overrides)
    database.write(lambda session: submit_job(session, new, now=clock))
    return new.id


def _claimed(database: Database, clock: FrozenClock, job_id: UUID) -> Claim:
    return queue_driver.claim(database, job_id, lease_s=_LEASE_S, now=clock)


def _running(database: Database, clock: FrozenClock, **overrides: object) -> AttemptId:
    return _claimed(database, clock, _submitted(database, clock, **overrides)).attempt


def _reap(database: Database, clock: FrozenClock, max_lost_attempts: int = 3) -> list[UUID]:
    lost = database.write(
        lambda session: recovery.reap(session, max_lost_attempts=max_lost_attempts, lease_s=30.0, now=clock)
    )
    return [each.attempt.job_id for each in lost]


def test_a_job_of_a_lost_worker_is_queued_and_resumes_from_its_checkpoint(
    database: Database, clock: FrozenClock
) -> None:
    attempt = _running(database, clock)
    database.write(
        lambda session: attempts.record(
            session, attempt, make_progress(make_epoch(0), state=b"after 0"), lease_s=_LEASE_S, now=clock
        )
    )
    clock.advance(_LEASE_S + 0.001)
    assert _reap(database, clock) == [attempt.job_id]
    job, row = stored.job(database, attempt.job_id), stored.attempt(database, attempt.job_id, attempt.number)
    assert (job.state, job.lost_attempts, job.failures, job.next_epoch) == (JobState.QUEUED, 1, 0, 1)
    assert (job.lease_owner, job.lease_expires_at) == (None, None)
    assert (row.outcome, row.error_code, row.finished_at) == ("lost", "worker_lost", clock.moment)
    assert stored.events(database, attempt.job_id)[-1].type == EventType.LEASE_EXPIRED
    assert _claimed(database, clock, attempt.job_id).checkpoint == results.StoredCheckpoint(1, b"after 0")


def test_a_lease_is_valid_until_its_expiry_inclusive(database: Database, clock: FrozenClock) -> None:
    attempt = _running(database, clock)
    clock.advance(_LEASE_S)
    assert _reap(database, clock) == []
    database.write(lambda session: leases.renew(session, [attempt], lease_s=_LEASE_S, now=clock))
    clock.advance(_LEASE_S)
    assert _reap(database, clock) == []
    clock.advance(0.001)
    assert _reap(database, clock) == [attempt.job_id]


def test_only_running_jobs_are_reaped(database: Database, clock: FrozenClock) -> None:
    submit(database)
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


def test_a_job_fails_after_so_many_lost_attempts(database: Database, clock: FrozenClock) -> None:
    job_id, states = _submitted(database, clock), []
    for _ in range(3):
        attempt = _claimed(database, clock, job_id).attempt
        clock.advance(_LEASE_S + 1)
        _reap(database, clock, max_lost_attempts=3)
        states.append(stored.job(database, job_id).state)
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    job = stored.job(database, job_id)
    assert (job.lost_attempts, job.error_code, job.finished_at) == (3, "worker_lost", clock.moment)
    assert job.error_message == (
        "3 workers were lost while they ran this job; the attempts say which. "
        "The last: worker worker-1 stopped renewing its lease"
    )
    assert stored.attempt(database, attempt.job_id, attempt.number).outcome == AttemptOutcome.LOST
    assert stored.events(database, job_id)[-1].data["code"] == "worker_lost"


def _take(
    database: Database, clock: FrozenClock, process: str, max_lost_attempts: int = 3
) -> list[recovery.LostAttempt]:
    return database.write(
        lambda session: recovery.take_from(
            session, process, "it broke", max_lost_attempts=max_lost_attempts, now=clock
        )
    )


def test_the_job_of_a_lost_process_is_taken_before_its_lease_expires(
    database: Database, clock: FrozenClock
) -> None:
    job_id = _submitted(database, clock, queue="gpu")
    queue_driver.claim(database, job_id, owner="host_1/a-1/x", lease_s=_LEASE_S, now=clock)
    others = ["host_1/a-10/x", "hostx1/a-1/x", "host_1/a-1"]
    running = [
        queue_driver.claim(
            database, _submitted(database, clock), owner=owner, lease_s=_LEASE_S, now=clock
        ).attempt
        for owner in others
    ]
    assert _take(database, clock, "host_1/a-1") == [
        recovery.LostAttempt(
            attempt=AttemptId(job_id, 1),
            kind=JobKind.TRAIN,
            queue="gpu",
            sweep_id=None,
            traceparent=None,
            worker="host_1",
            started_at=clock.moment,
            reason="it broke",
        )
    ]
    job, row = stored.job(database, job_id), stored.attempt(database, job_id, 1)
    assert (job.state, job.lost_attempts, job.failures) == (JobState.QUEUED, 1, 0)
    assert (row.outcome, row.error_code, row.error_message) == ("lost", "worker_lost", "it broke")
    event = stored.events(database, job_id)[-1]
    assert (event.type, event.data) == ("lease_expired", {"code": "worker_lost", "message": "it broke"})
    assert {stored.job(database, attempt.job_id).state for attempt in running} == {JobState.RUNNING}
    assert _take(database, clock, "host_1/a-1") == []


def test_a_job_whose_processes_are_lost_fails_after_so_many_lost_attempts(
    database: Database, clock: FrozenClock
) -> None:
    job_id = _submitted(database, clock)
    for _ in range(2):
        queue_driver.claim(database, job_id, owner="host/a/x", lease_s=_LEASE_S, now=clock)
        _take(database, clock, "host/a", max_lost_attempts=2)
    job = stored.job(database, job_id)
    assert (job.state, job.lost_attempts, job.error_code) == (JobState.FAILED, 2, "worker_lost")
    assert str(job.error_message).endswith("The last: it broke")


def _record_epoch(database: Database, clock: FrozenClock, attempt: AttemptId, epoch: int) -> None:
    progress = make_progress(make_epoch(epoch))
    record = partial(attempts.record, attempt=attempt, progress=progress, lease_s=_LEASE_S, now=clock)
    database.write(record)


def test_lost_attempts_count_since_the_last_recorded_epoch(database: Database, clock: FrozenClock) -> None:
    job_id = _submitted(database, clock)
    for epoch in range(3):
        attempt = queue_driver.claim(database, job_id, owner="host/a/x", lease_s=_LEASE_S, now=clock).attempt
        _record_epoch(database, clock, attempt, epoch)
        _take(database, clock, "host/a", max_lost_attempts=2)
        assert stored.job(database, job_id).lost_attempts == 1
    queue_driver.claim(database, job_id, owner="host/a/x", lease_s=_LEASE_S, now=clock)
    _take(database, clock, "host/a", max_lost_attempts=2)
    job = stored.job(database, job_id)
    assert (job.state, job.lost_attempts) == (JobState.FAILED, 2)
    assert str(job.error_message).startswith("2 workers were lost")


def test_a_release_with_epochs_is_progress_too(database: Database, clock: FrozenClock) -> None:
    job_id = _submitted(database, clock)
    queue_driver.claim(database, job_id, owner="host/a/x", lease_s=_LEASE_S, now=clock)
    _take(database, clock, "host/a")
    attempt, progress = _claimed(database, clock, job_id).attempt, make_progress(make_epoch(0))
    database.write(partial(attempts.release, attempt=attempt, progress=progress, now=clock))
    assert stored.job(database, job_id).lost_attempts == 0


def test_a_job_that_loses_very_many_workers_fails_whatever_it_has_achieved(
    database: Database, clock: FrozenClock
) -> None:
    job_id, most = _submitted(database, clock), recovery.MAX_LOST * 2
    for epoch in range(most):
        assert stored.job(database, job_id).state == JobState.QUEUED
        attempt = queue_driver.claim(database, job_id, owner="host/a/x", lease_s=_LEASE_S, now=clock).attempt
        _record_epoch(database, clock, attempt, epoch)
        _take(database, clock, "host/a", max_lost_attempts=2)
    job = stored.job(database, job_id)
    assert (job.state, job.lost_attempts, job.error_code) == (JobState.FAILED, 1, "worker_lost")
    assert str(job.error_message).startswith(f"{most} workers were lost")


def _counted_after_a_loss(
    database: Database, clock: FrozenClock, boot_id: str | None, seen_before_expiry_s: float | None
) -> int:
    """Lose a worker of this boot; another of the boot `old` was seen so long before the lease expired."""
    info = make_worker_info(name="host:1", boot_id=boot_id)
    job_id = _submitted(database, clock)
    claim = partial(claims.claim, queues=["default"], worker=info, owner="host:1/a/x", lease_s=_LEASE_S)
    database.write(partial(claim, now=clock))
    expiry = clock.moment + timedelta(seconds=_LEASE_S)
    if seen_before_expiry_s is not None:
        seen_at = expiry - timedelta(seconds=seen_before_expiry_s)
        worker(database, id="host:2", boot_id="old", heartbeat_at=seen_at)
    # the container has the same name after a reboot, and its worker the same id
    worker(database, id="host:1", boot_id="new", heartbeat_at=expiry)
    clock.advance(_LEASE_S + 1)
    assert _reap(database, clock) == [job_id]
    assert stored.attempt(database, job_id, 1).outcome == AttemptOutcome.LOST
    return stored.job(database, job_id).lost_attempts


@pytest.mark.parametrize(
    ("boot_id", "seen_before_expiry_s", "lost_attempts"),
    [
        ("old", None, 0),
        (
            "old",
            _LEASE_S * 2 / 3,
            0,
        ),  # it was seen a moment after the last renewal, and then the power failed
        ("old", 1.0, 1),
        ("old", -0.5, 1),
        (None, None, 1),  # of a version that does not tell
    ],
)
def test_a_worker_that_is_lost_with_its_machine_does_not_count_for_its_job(
    database: Database,
    clock: FrozenClock,
    boot_id: str | None,
    seen_before_expiry_s: float | None,
    lost_attempts: int,
) -> None:
    assert _counted_after_a_loss(database, clock, boot_id, seen_before_expiry_s) == lost_attempts


def test_a_lost_attempt_ends_the_log_of_the_job_with_the_reason(
    database: Database, clock: FrozenClock
) -> None:
    job_id = _submitted(database, clock)
    attempt = queue_driver.claim(database, job_id, owner="host/a/x", lease_s=_LEASE_S, now=clock).attempt
    own = job_logs.Line(number=1, at=clock.moment, level=LogLevel.INFO, message="its own", fields={})
    database.write(lambda session: job_logs.append(session, {attempt: [own]}))
    _take(database, clock, "host/a")
    lines = database.read(lambda session: job_logs.lines(session, job_id, limit=10))
    assert [(line.attempt, line.number, line.level, line.message) for line in lines] == [
        (1, 1, "info", "its own"),
        (1, 2, "error", "attempt 1 lost: it broke"),
    ]


def test_lost_attempts_and_failures_are_counted_separately(database: Database, clock: FrozenClock) -> None:
    job_id, failure = _submitted(database, clock, max_attempts=2), AttemptFailure("internal", "it broke")
    _claimed(database, clock, job_id)
    clock.advance(_LEASE_S + 1)
    _reap(database, clock, max_lost_attempts=2)
    attempt = _claimed(database, clock, job_id).attempt
    database.write(lambda session: attempts.fail(session, attempt, failure, retry_in_s=0, now=clock))
    job = stored.job(database, job_id)
    assert (job.state, job.lost_attempts, job.failures) == (JobState.QUEUED, 1, 1)


def test_a_job_with_a_cancel_request_is_cancelled_when_its_worker_is_lost(
    database: Database, clock: FrozenClock
) -> None:
    attempt = _running(database, clock)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id, now=clock))
    clock.advance(_LEASE_S + 1)
    assert _reap(database, clock) == [attempt.job_id]
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.lost_attempts) == (JobState.CANCELLED, 1)
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


def _pull_back(database: Database, clock: FrozenClock, limit: int = 10) -> int:
    return database.write(
        lambda session: recovery.pull_back(session, lease_s=_LEASE_S, limit=limit, now=clock)
    )


def test_times_in_the_future_are_pulled_back_to_the_latest_possible(
    database: Database, clock: FrozenClock
) -> None:
    clock.advance(3_600)
    running = _running(database, clock)
    queued, retried = _submitted(database, clock), _submitted(database, clock)
    set_columns(database, retried, failures=1, scheduled_at=clock.moment + timedelta(seconds=100))
    clock.advance(-3_600)
    assert _pull_back(database, clock) == 3
    jobs = {job_id: stored.job(database, job_id) for job_id in (running.job_id, queued, retried)}
    assert jobs[running.job_id].lease_expires_at == clock.moment + timedelta(seconds=_LEASE_S)
    assert jobs[queued].scheduled_at == clock.moment
    assert jobs[retried].scheduled_at == clock.moment + timedelta(seconds=MAX_DELAY_S)
    assert _pull_back(database, clock) == 0


def test_times_that_are_possible_are_not_pulled_back(database: Database, clock: FrozenClock) -> None:
    _running(database, clock)
    _submitted(database, clock)
    set_columns(
        database,
        _submitted(database, clock),
        failures=1,
        scheduled_at=clock.moment + timedelta(seconds=MAX_DELAY_S),
    )
    before = database.read(all_rows)
    assert _pull_back(database, clock) == 0
    assert database.read(all_rows) == before


def test_a_job_that_is_to_start_later_is_not_pulled_back(database: Database, clock: FrozenClock) -> None:
    later = clock.moment + timedelta(days=2)
    new = make_new_job(earliest_at=later)
    database.write(lambda session: submit_job(session, new, now=clock))
    assert _pull_back(database, clock) == 0
    set_columns(database, new.id, scheduled_at=later + timedelta(days=1))
    assert _pull_back(database, clock) == 1
    assert stored.job(database, new.id).scheduled_at == later
