"""Progress is stored with its events, alone or with the end of its attempt."""

from datetime import datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.errors import StaleAttempt
from shared.lifecycle import AttemptOutcome, EventType, Phase
from shared.store import attempts, results
from shared.store.event_log import NewEvent
from shared.store.progress import End, Milestone, Progress, end_attempt
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support import stored
from tests.support.factories import make_epoch, make_model, make_new_job, make_progress
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import claim_next, record, running, succeed_attempt
from tests.support.stored import all_rows

_CLOCK = FrozenClock()
_FAILURE = AttemptFailure("internal", "it broke")


def test_an_event_tells_of_each_phase_and_epoch_with_its_time_in_order(
    database: Database, clock: FrozenClock
) -> None:
    new = make_new_job()
    database.write(lambda session: submit_job(session, new, now=clock))
    claim = claim_next(database, new.queue, now=clock)
    assert claim is not None
    clock.advance(10)
    epoch = make_epoch()
    ages = ((Phase.LOADING_DATA, 11.0), (Phase.TRAINING, 3.0), (epoch, 4.0), (Phase.SAVING, 0.5))
    progress = Progress(tuple(Milestone(reached, age_s) for reached, age_s in ages), b"state")
    database.write(lambda session: attempts.release(session, claim.attempt, progress, now=clock))
    events = stored.events(database, new.id)
    assert [event.type for event in events] == ["submitted", "claimed", "progress", "released"]
    assert [(clock.moment - event.at).total_seconds() for event in events] == [10, 10, 0.5, 0]
    # by this clock the first phase began before the claim, and the epoch ended before the second one
    assert _ages(events[2].data, clock) == {
        "phases": [("loading_data", 10), ("training", 3), ("saving", 0.5)],
        "epochs": [(epoch.summary, 3)],
    }


def _ages(data: dict[str, Any], clock: FrozenClock) -> dict[str, list[tuple[Any, float]]]:
    """What an event tells of, each item with its age in seconds."""
    return {
        name: [
            (item.get("phase", item), (clock.moment - datetime.fromisoformat(item.pop("at"))).total_seconds())
            for item in items
        ]
        for name, items in data.items()
    }


@pytest.mark.parametrize("outcome", ["release", "retry", "fail", "cancel", "succeed"])
def test_an_end_stores_progress_and_a_checkpoint_only_if_the_job_goes_on(
    database: Database, outcome: str
) -> None:
    attempt = running(database, max_attempts=2)
    record(database, attempt, 1)
    progress = make_progress(make_epoch(1), make_epoch(2), Phase.EVALUATING, state=b"after 2")
    ends: dict[str, Any] = {
        "release": attempts.release,
        "retry": partial(attempts.fail, failure=_FAILURE, retry_in_s=0.0),
        "fail": partial(attempts.fail, failure=_FAILURE, retry_in_s=None),
        "cancel": attempts.cancel_attempt,
        "succeed": partial(succeed_attempt, produced=make_model().produced),
    }
    database.write(lambda session: ends[outcome](session, attempt, progress=progress))
    job = stored.job(database, attempt.job_id)
    of_result = {"evaluation_accuracy": 49 / 50, "evaluation_loss": 0.2} if outcome == "succeed" else {}
    assert (job.next_epoch, job.phase) == (3, None)
    assert job.last_values == {**make_epoch(2).values, **of_result}
    assert database.read(lambda session: stored.epochs(session, attempt.job_id)) == [
        *map(make_epoch, range(3))
    ]
    checkpoint = database.read(lambda session: results.checkpoint(session, attempt.job_id))
    goes_on = outcome in ("release", "retry")
    assert checkpoint == (results.StoredCheckpoint(3, b"after 2") if goes_on else None)
    assert stored.event_types(database, attempt.job_id)[2:4] == ["progress", "progress"]
    assert job.version == 5


@pytest.mark.parametrize("first", [0, 2])
def test_an_end_with_epochs_that_do_not_follow_the_last_one_is_refused(
    database: Database, first: int
) -> None:
    attempt = running(database)
    record(database, attempt, 1)
    before = database.read(all_rows)
    with pytest.raises(StaleAttempt):
        database.write(lambda session: attempts.release(session, attempt, make_progress(make_epoch(first))))
    assert database.read(all_rows) == before


def _end(session: Session, attempt: AttemptId, event: EventType) -> bool:
    return end_attempt(session, End(attempt, NewEvent(event), AttemptOutcome(event)), now=_CLOCK)


def test_ending_an_attempt_again_returns_false_and_changes_nothing(database: Database) -> None:
    attempt = running(database)
    assert database.write(lambda session: _end(session, attempt, EventType.RELEASED))
    once = database.read(lambda session: all_rows(session))
    assert not database.write(lambda session: _end(session, attempt, EventType.RELEASED))
    assert database.read(lambda session: all_rows(session)) == once


def test_an_attempt_that_ended_with_another_outcome_is_stale(database: Database) -> None:
    # its job is queued and may be cancelled, and still has its number
    attempt = running(database)
    database.write(lambda session: _end(session, attempt, EventType.RELEASED))
    with pytest.raises(StaleAttempt, match="attempt 1 at job"):
        database.write(lambda session: _end(session, attempt, EventType.CANCELLED))


def test_an_attempt_that_does_not_exist_is_stale(database: Database) -> None:
    attempt = AttemptId(running(database).job_id, 2)
    with pytest.raises(StaleAttempt):
        database.write(lambda session: _end(session, attempt, EventType.CANCELLED))
