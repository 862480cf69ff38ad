"""Steps of an epoch that is being trained: they are part of its row, and of nothing that counts epochs."""

from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.errors import StaleAttempt
from shared.store import attempts
from shared.store.event_log import changed_jobs
from tests.support import stored
from tests.support.factories import make_epoch, make_progress
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import claim, expire, record, record_progress, running
from tests.support.stored import all_rows


def test_steps_so_far_replace_each_other_without_an_event_and_their_epoch_replaces_them(
    database: Database, clock: FrozenClock
) -> None:
    attempt = running(database)
    job_id = attempt.job_id
    version = stored.job(database, job_id).version
    for count in (1, 2):
        begun = make_epoch(0, steps={"loss": [0.5] * count})
        write = partial(attempts.record, attempt=attempt, progress=make_progress(running=begun))
        database.write(partial(write, lease_s=30, now=clock))
        assert stored.begun_epochs(database, job_id) == [(0, 1, begun.steps)]
    job = stored.job(database, job_id)
    assert (job.version, job.next_epoch, job.last_values or {}) == (version, 0, {})
    assert job.lease_expires_at == clock.moment + timedelta(seconds=30)
    assert database.read(lambda session: stored.epochs(session, job_id)) == []
    record_progress(database, attempt, make_progress(make_epoch(0), running=make_epoch(1)))
    assert database.read(lambda session: stored.epochs(session, job_id)) == [make_epoch(0)]
    assert stored.begun_epochs(database, job_id) == [(1, 1, make_epoch(1).steps)]


def test_steps_are_announced_as_a_change_of_their_job(database: Database) -> None:
    attempt, progress = running(database), make_progress(running=make_epoch(0))

    def write(session: Session) -> frozenset[UUID]:
        attempts.record(session, attempt, progress, lease_s=30)
        return changed_jobs(session)

    assert database.write(write) == {attempt.job_id}


@pytest.mark.parametrize("epoch", [0, 2])
def test_steps_of_an_epoch_that_does_not_run_are_refused(database: Database, epoch: int) -> None:
    attempt = running(database)
    record(database, attempt, 1)
    before = database.read(all_rows)
    with pytest.raises(StaleAttempt, match=f"not at epoch {epoch}"):
        record_progress(database, attempt, make_progress(running=make_epoch(epoch)))
    assert database.read(all_rows) == before


def test_an_attempt_that_has_lost_its_job_writes_no_steps(database: Database) -> None:
    attempt = running(database)
    database.write(lambda session: attempts.release(session, attempt))
    claim(database, attempt.job_id, owner="worker-2/1")
    before = database.read(all_rows)
    with pytest.raises(StaleAttempt):
        record_progress(database, attempt, make_progress(running=make_epoch(0)))
    assert database.read(all_rows) == before


def test_a_resumed_attempt_replaces_the_steps_that_were_not_completed(database: Database) -> None:
    attempt = running(database)
    record(database, attempt, 1)
    record_progress(database, attempt, make_progress(running=make_epoch(1)))
    expire(database, attempt)
    resumed = claim(database, attempt.job_id, owner="worker-2/1").attempt
    few = make_epoch(1, steps={"loss": [0.5], "accuracy": [0.5]})
    record_progress(database, resumed, make_progress(running=few))
    assert stored.begun_epochs(database, attempt.job_id) == [(1, 2, few.steps)]
    record(database, resumed, 2, first=1)
    epochs = [make_epoch(epoch) for epoch in range(3)]
    assert database.read(lambda session: stored.epochs(session, attempt.job_id)) == epochs
    assert stored.begun_epochs(database, attempt.job_id) == []
