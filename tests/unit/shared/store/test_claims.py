"""A claim starts an attempt at a queued job that is due, from its last checkpoint."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, update

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import Checkpoint
from shared.lifecycle import JobState
from shared.store import attempts, claims, job_edits, results
from shared.store.claims import Claim
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure
from tests.support import stored
from tests.support.factories import make_epoch, make_new_job, make_worker_info
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import cancelled, claim_next, failed, record, running, succeeded
from tests.support.stored import all_rows

_FAILURE = AttemptFailure("internal", "it broke")


def _claim(
    database: Database, job_id: UUID, *, owner: str = "worker-2/1", now: Now = database_now
) -> Claim | None:
    worker = make_worker_info(name="worker-2", device="GPU 0")
    queue = stored.job(database, job_id).queue
    return database.write(
        lambda session: claims.claim(session, [queue], worker=worker, owner=owner, lease_s=30, now=now)
    )


def test_a_claim_starts_a_numbered_attempt_with_a_lease(database: Database, clock: FrozenClock) -> None:
    new = make_new_job(max_runtime_s=5.0)
    database.write(lambda session: submit_job(session, new, now=clock))
    clock.advance(1)
    claim = _claim(database, new.id, now=clock)
    assert claim is not None
    assert (claim.attempt.job_id, claim.attempt.number) == (new.id, 1)
    assert (claim.kind, claim.spec) == ("train", new.spec.model_dump(mode="json"))
    assert (claim.max_runtime_s, claim.checkpoint) == (5.0, None)
    job, attempt = stored.job(database, new.id), stored.attempt(database, new.id, 1)
    assert (job.state, job.lease_owner, job.version) == (JobState.RUNNING, "worker-2/1", 2)
    assert job.lease_expires_at == clock.moment + timedelta(seconds=30)
    assert job.started_at == attempt.started_at == clock.moment
    assert (attempt.worker, attempt.device, attempt.outcome) == ("worker-2", "GPU 0", None)
    assert stored.events(database, new.id)[-1].data == {"worker": "worker-2"}


def test_a_later_attempt_does_not_change_when_its_job_started(database: Database, clock: FrozenClock) -> None:
    new = make_new_job()
    database.write(lambda session: submit_job(session, new, now=clock))
    first, started_at = _claim(database, new.id, now=clock), clock.moment
    assert first is not None
    database.write(lambda session: attempts.release(session, first.attempt, now=clock))
    clock.advance(60)
    second = _claim(database, new.id, owner="worker-3/1", now=clock)
    assert second is not None
    assert second.attempt.number == 2
    assert stored.job(database, new.id).started_at == started_at
    assert stored.attempt(database, new.id, 2).started_at == clock.moment


def test_only_queued_jobs_can_be_claimed(database: Database) -> None:
    for store in (running, succeeded, failed, cancelled):
        store(database)
    before = database.read(all_rows)
    assert claim_next(database, "default", "unknown") is None
    assert database.read(all_rows) == before


def test_a_job_is_not_claimed_before_it_is_due(database: Database, clock: FrozenClock) -> None:
    attempt = running(database)
    database.write(lambda session: attempts.fail(session, attempt, _FAILURE, retry_in_s=10, now=clock))
    clock.advance(9.999)
    assert _claim(database, attempt.job_id, now=clock) is None
    clock.advance(0.001)
    assert _claim(database, attempt.job_id, now=clock) is not None


def test_a_queued_job_with_a_cancel_request_is_not_claimed(database: Database) -> None:
    attempt = running(database)
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
    database.write(lambda session: attempts.release(session, attempt))
    assert _claim(database, attempt.job_id) is None


def test_the_next_attempt_resumes_after_the_last_recorded_epoch(database: Database) -> None:
    attempt = running(database)
    record(database, attempt, 2)
    database.write(lambda session: attempts.release(session, attempt))
    claim = _claim(database, attempt.job_id)
    assert claim is not None
    assert claim.checkpoint == results.StoredCheckpoint(2, b"the state after it")
    record(database, claim.attempt, 1, first=2)
    epochs = database.read(lambda session: stored.epochs(session, attempt.job_id))
    assert epochs == [make_epoch(epoch) for epoch in range(3)]


@pytest.mark.parametrize(
    "damage",
    [
        update(Checkpoint).values(state=b"the state after jt"),
        update(Checkpoint).values(state=b""),
        update(Checkpoint).values(sha256="0" * 64),
        update(Checkpoint).values(next_epoch=1),
        delete(Checkpoint),
    ],
    ids=["a flipped bit", "truncated", "another checksum", "another epoch", "missing"],
)
def test_a_job_without_a_valid_checkpoint_starts_over(database: Database, damage: Any) -> None:
    attempt = running(database)
    record(database, attempt, 2)
    database.write(lambda session: attempts.release(session, attempt))
    database.write(lambda session: session.execute(damage))
    claim = _claim(database, attempt.job_id)
    assert claim is not None
    assert claim.checkpoint is None
    job = stored.job(database, attempt.job_id)
    assert (job.next_epoch, job.last_values) == (0, {})
    assert database.read(lambda session: stored.epochs(session, attempt.job_id)) == []
    record(database, claim.attempt, 3)
    assert database.read(lambda session: stored.epochs(session, attempt.job_id)) == [
        make_epoch(epoch) for epoch in range(3)
    ]
