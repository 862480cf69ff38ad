"""The UPDATE that applies an event to a job: every event in every state, and the end of attempts."""

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
from shared.lifecycle import EVENTS, TERMINAL, AttemptOutcome, EventType, JobState
from shared.store.transitions import AttemptFailure, change
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import one_of_each_state, record, running, submit

_CLOCK = FrozenClock()

# the columns that constraints require in the state to which the event leads
_REQUIRED: dict[EventType, dict[str, Any]] = {
    EventType.CLAIMED: {"lease_owner": "w", "lease_expires_at": _CLOCK(30), "attempt": Job.attempt + 1},
    EventType.SUCCEEDED: {"model_id": uuid7()},
    EventType.FAILED: {"error_code": "internal"},
}


def _snapshot(session: Session, job_id: UUID) -> list[Any]:
    """All rows of a job."""
    keys = (Job.id, Attempt.job_id, JobEvent.job_id, Checkpoint.job_id)
    return [session.execute(select(key.class_.__table__).where(key == job_id)).all() for key in keys]


def _events(session: Session, job_id: UUID) -> list[JobEvent]:
    return list(session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)))


def test_each_event_is_accepted_only_in_its_source_states(database: Database) -> None:
    for (state, job_id), event in product(one_of_each_state(database).items(), EventType):
        session = Session(database.engine)
        before = _snapshot(session, job_id)
        changed = change(session, event, job_id, now=_CLOCK, **_REQUIRED.get(event, {}))
        if state in EVENTS[event].sources:
            assert changed is True, (state, event)
            _assert_applied(session, job_id, event, before[0][0])
        else:
            assert changed is False, (state, event)
            assert _snapshot(session, job_id) == before, (state, event)
        session.rollback()
        session.close()


def _assert_applied(session: Session, job_id: UUID, event: EventType, before: Any) -> None:
    job, last = session.get_one(Job, job_id), _events(session, job_id)[-1]
    target = EVENTS[event].target or before.state
    assert (job.state, job.version) == (target, before.version + 1)
    assert (last.seq, last.type, last.attempt, last.at) == (job.version, event, job.attempt, _CLOCK.moment)
    assert (job.finished_at is not None) == (target in TERMINAL)
    assert (job.lease_owner is not None) == (target == JobState.RUNNING)


def test_a_change_whose_condition_is_false_changes_nothing(database: Database) -> None:
    job_id = submit(database)
    before = database.read(lambda session: _snapshot(session, job_id))
    changed = database.write(
        lambda session: change(session, EventType.CANCELLED, job_id, false(), now=database_now)
    )
    assert changed is False
    assert database.read(lambda session: _snapshot(session, job_id)) == before


def test_an_unknown_job_is_not_changed(database: Database) -> None:
    job_id = uuid7()
    assert database.write(lambda session: change(session, EventType.CANCELLED, job_id, now=_CLOCK)) is False


def test_a_change_does_not_affect_other_jobs(database: Database) -> None:
    job_id, other = submit(database), submit(database)
    before = database.read(lambda session: _snapshot(session, other))
    database.write(lambda session: change(session, EventType.CANCELLED, job_id, now=_CLOCK))
    assert database.read(lambda session: _snapshot(session, other)) == before


def test_an_event_that_ends_an_attempt_stores_its_outcome_and_error(database: Database) -> None:
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
def test_every_terminal_event_deletes_the_checkpoint(database: Database, event: EventType) -> None:
    attempt = running(database)
    record(database, attempt, 1)
    database.write(
        lambda session: change(session, event, attempt.job_id, now=_CLOCK, **_REQUIRED.get(event, {}))
    )
    assert database.read(lambda session: session.get(Checkpoint, attempt.job_id)) is None
