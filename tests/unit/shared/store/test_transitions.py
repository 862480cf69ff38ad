"""The one UPDATE that changes a job: every state with every event."""

from itertools import product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import false, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.tables import Attempt, Checkpoint, Job, JobEvent
from shared.errors import StaleAttempt
from shared.lifecycle import EVENTS, TERMINAL, AttemptOutcome, EventType, JobState
from shared.store.transitions import AttemptFailure, AttemptId, Change, change, end_attempt
from tests.support.factories import cancelled, failed, record, running, submitted, succeeded
from tests.support.fakes import FrozenClock

_CLOCK = FrozenClock()

# what the constraints want of the state that the event leads to
_NEEDED: dict[EventType, dict[str, Any]] = {
    EventType.CLAIMED: {"lease_owner": "w", "lease_expires_at": _CLOCK(30), "attempt": Job.attempt + 1},
    EventType.SUCCEEDED: {"model_id": uuid7()},
    EventType.FAILED: {"error_code": "internal"},
}


def _snapshot(session: Session, job_id: UUID) -> list[Any]:
    """Everything that is stored of a job."""
    keys = (Job.id, Attempt.job_id, JobEvent.job_id, Checkpoint.job_id)
    return [session.execute(select(key.class_.__table__).where(key == job_id)).all() for key in keys]


def _events(session: Session, job_id: UUID) -> list[JobEvent]:
    return list(session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)))


def test_each_event_happens_from_its_sources_and_from_nowhere_else(database: Database) -> None:
    jobs_by_state = {
        JobState.QUEUED: submitted(database),
        JobState.RUNNING: running(database).job_id,
        JobState.SUCCEEDED: succeeded(database)[0],
        JobState.FAILED: failed(database),
        JobState.CANCELLED: cancelled(database),
    }
    for (state, job_id), event in product(jobs_by_state.items(), EventType):
        session = Session(database.engine)
        before = _snapshot(session, job_id)
        changed = change(session, event, job_id, now=_CLOCK, **_NEEDED.get(event, {}))
        if state in EVENTS[event].sources:
            _assert_happened(session, job_id, event, before[0][0], changed)
        else:
            assert changed is None, (state, event)
            assert _snapshot(session, job_id) == before, (state, event)
        session.rollback()
        session.close()


def _assert_happened(
    session: Session, job_id: UUID, event: EventType, before: Any, changed: Change | None
) -> None:
    job, last = session.get_one(Job, job_id), _events(session, job_id)[-1]
    target = EVENTS[event].target or before.state
    assert changed == Change(before.version + 1, job.attempt)
    assert (job.state, job.version) == (target, before.version + 1)
    assert (last.seq, last.type, last.attempt, last.at) == (job.version, event, job.attempt, _CLOCK.moment)
    assert (job.finished_at is not None) == (target in TERMINAL)
    assert (job.lease_owner is not None) == (target == JobState.RUNNING)
    if EVENTS[event].target == JobState.QUEUED:
        assert job.dispatched_at is None  # so that it is sent again


def test_a_guard_that_does_not_hold_leaves_everything_as_it_was(database: Database) -> None:
    job_id = submitted(database)
    before = database.read(lambda session: _snapshot(session, job_id))
    changed = database.write(
        lambda session: change(session, EventType.CANCELLED, job_id, false(), now=database_now)
    )
    assert changed is None
    assert database.read(lambda session: _snapshot(session, job_id)) == before


def test_an_unknown_job_is_not_changed(database: Database) -> None:
    job_id = uuid7()
    assert database.write(lambda session: change(session, EventType.CANCELLED, job_id, now=_CLOCK)) is None


def test_only_the_job_that_is_named_changes(database: Database) -> None:
    job_id, other = submitted(database), submitted(database)
    before = database.read(lambda session: _snapshot(session, other))
    database.write(lambda session: change(session, EventType.CANCELLED, job_id, now=_CLOCK))
    assert database.read(lambda session: _snapshot(session, other)) == before


def test_an_event_that_ends_an_attempt_says_how_in_its_row(database: Database) -> None:
    attempt, failure = running(database), AttemptFailure("internal", "it broke")
    database.write(
        lambda session: change(
            session,
            EventType.RETRY_SCHEDULED,
            attempt.job_id,
            now=_CLOCK,
            outcome=AttemptOutcome.FAILED,
            failure=failure,
        )
    )
    row = database.read(lambda session: session.get_one(Attempt, (attempt.job_id, attempt.number)))
    assert (row.outcome, row.finished_at) == (AttemptOutcome.FAILED, _CLOCK.moment)
    assert (row.error_code, row.error_message) == ("internal", "it broke")


@pytest.mark.parametrize("event", sorted(set(EventType) & set(map(EventType, TERMINAL))))
def test_every_end_drops_the_checkpoint(database: Database, event: EventType) -> None:
    attempt = running(database)
    record(database, attempt, 1)
    database.write(
        lambda session: change(session, event, attempt.job_id, now=_CLOCK, **_NEEDED.get(event, {}))
    )
    assert database.read(lambda session: session.get(Checkpoint, attempt.job_id)) is None


def _end(session: Session, attempt: AttemptId, event: EventType) -> bool:
    return end_attempt(session, event, attempt, AttemptOutcome(event), now=_CLOCK)


def test_an_attempt_ends_once_and_says_so_the_second_time(database: Database) -> None:
    attempt = running(database)
    assert database.write(lambda session: _end(session, attempt, EventType.RELEASED))
    once = database.read(lambda session: _snapshot(session, attempt.job_id))
    assert not database.write(lambda session: _end(session, attempt, EventType.RELEASED))
    assert database.read(lambda session: _snapshot(session, attempt.job_id)) == once


def test_an_attempt_that_ended_in_another_way_is_stale(database: Database) -> None:
    # its job is queued and may be cancelled, and still has its number
    attempt = running(database)
    database.write(lambda session: _end(session, attempt, EventType.RELEASED))
    with pytest.raises(StaleAttempt, match="attempt 1 at job"):
        database.write(lambda session: _end(session, attempt, EventType.CANCELLED))


def test_an_attempt_that_never_was_is_stale(database: Database) -> None:
    attempt = AttemptId(running(database).job_id, 2)
    with pytest.raises(StaleAttempt):
        database.write(lambda session: _end(session, attempt, EventType.CANCELLED))
