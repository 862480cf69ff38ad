"""Writes of ended attempts are refused, and writes repeated after a lost reply to a commit are idempotent."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.errors import StaleAttempt
from shared.lifecycle import Phase
from shared.store import attempts, job_edits, recovery
from shared.store.submit import Idempotency, submit_job
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support.factories import (
    claimed,
    make_epoch,
    make_evaluate_spec,
    make_evaluation,
    make_model,
    make_new_job,
    record,
    running,
    submitted,
    succeeded,
)
from tests.support.fakes import FrozenClock
from tests.support.stored import all_rows

Write = Callable[[Session, AttemptId], Any]

_MODEL = make_model()
_FAILURE = AttemptFailure("internal", "it broke")
_CLOCK = FrozenClock()

# what a worker writes under an attempt that has recorded one epoch
_WRITES: dict[str, Write] = {
    "renew": lambda session, attempt: attempts.renew(session, attempt, lease_s=30, now=_CLOCK),
    "is_cancel_requested": attempts.is_cancel_requested,
    "enter_phase": lambda session, attempt: attempts.enter_phase(
        session, attempt, Phase.TRAINING, now=_CLOCK
    ),
    "record": lambda session, attempt: attempts.record(
        session, attempt, [make_epoch(1)], b"after 1", lease_s=30, now=_CLOCK
    ),
    "succeed_training": lambda session, attempt: attempts.succeed_training(
        session, attempt, _MODEL, now=_CLOCK
    ),
    "fail": lambda session, attempt: attempts.fail(session, attempt, _FAILURE, retry_in_s=None, now=_CLOCK),
    "retry": lambda session, attempt: attempts.fail(session, attempt, _FAILURE, retry_in_s=5, now=_CLOCK),
    "cancel_attempt": lambda session, attempt: attempts.cancel_attempt(session, attempt, now=_CLOCK),
    "release": lambda session, attempt: attempts.release(session, attempt, now=_CLOCK),
}


def _run(database: Database, name: str, attempt: AttemptId) -> Any:
    return database.write(lambda session: _WRITES[name](session, attempt))


def _is_refused(database: Database, name: str, attempt: AttemptId) -> bool:
    try:
        _run(database, name, attempt)
    except StaleAttempt:
        return True
    return False


def _after_the_lease(offset_s: float = 0.0, /) -> Any:
    return database_now(offset_s + 60)


def _reaped(database: Database, attempt: AttemptId, max_crashes: int = 3) -> None:
    reaped = database.write(
        lambda session: recovery.reap(session, max_crashes=max_crashes, now=_after_the_lease)
    )
    assert reaped == [attempt.job_id]


def _reclaimed(database: Database, attempt: AttemptId) -> None:
    _reaped(database, attempt)
    claimed(database, attempt.job_id, owner="worker-2/1")


def _failed_by_the_reaper(database: Database, attempt: AttemptId) -> None:
    _reaped(database, attempt, max_crashes=1)


def _cancelled_by_the_reaper(database: Database, attempt: AttemptId) -> None:
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
    _reaped(database, attempt)


def _reclaimed_and_succeeded(database: Database, attempt: AttemptId) -> None:
    _reaped(database, attempt)
    second = claimed(database, attempt.job_id, owner="worker-2/1").attempt
    database.write(lambda session: attempts.succeed_training(session, second, make_model()))


def _reclaimed_and_released(database: Database, attempt: AttemptId) -> None:
    _reaped(database, attempt)
    second = claimed(database, attempt.job_id, owner="worker-2/1").attempt
    database.write(lambda session: attempts.release(session, second))


@pytest.mark.parametrize(
    "end",
    [
        _reaped,
        _reclaimed,
        _failed_by_the_reaper,
        _cancelled_by_the_reaper,
        _reclaimed_and_succeeded,
        _reclaimed_and_released,
    ],
)
def test_writes_of_an_ended_attempt_are_refused_and_change_nothing(
    database: Database, end: Callable[[Database, AttemptId], None]
) -> None:
    attempt = running(database)
    record(database, attempt, 1)
    end(database, attempt)
    before = database.read(all_rows)
    assert [name for name in _WRITES if _is_refused(database, name, attempt)] == list(_WRITES)
    assert database.read(all_rows) == before


@pytest.mark.parametrize("name", _WRITES)
def test_a_repeated_write_is_idempotent(database: Database, name: str) -> None:
    attempt = running(database, max_attempts=2)
    record(database, attempt, 1)
    first = _run(database, name, attempt)
    once = database.read(all_rows)
    assert _run(database, name, attempt) == first
    assert database.read(all_rows) == once


@pytest.mark.parametrize("name", ["retry", "release"])
def test_a_repeated_end_of_an_attempt_does_not_affect_the_next_attempt(database: Database, name: str) -> None:
    # the reply to the first commit was lost, and the job was claimed before the write was repeated
    attempt = running(database)
    record(database, attempt, 1)
    _run(database, name, attempt)
    claimed(database, attempt.job_id, owner="worker-2/1")
    before = database.read(all_rows)
    _run(database, name, attempt)
    assert database.read(all_rows) == before


@pytest.mark.parametrize("key", [None, Idempotency("k", "a" * 64)], ids=["without a key", "with a key"])
def test_a_repeated_submit_creates_one_job(database: Database, key: Idempotency | None) -> None:
    new = make_new_job()
    first = database.write(lambda session: submit_job(session, new, idempotency=key))
    once = database.read(all_rows)
    assert database.write(lambda session: submit_job(session, new, idempotency=key)) == first
    assert first == (new.id, True)
    assert database.read(all_rows) == once


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_repeated_claim_returns_the_same_attempt(database: Database, epochs: int) -> None:
    earlier = running(database)
    record(database, earlier, epochs)
    database.write(lambda session: attempts.release(session, earlier))
    first = claimed(database, earlier.job_id, owner="worker-2/1")
    once = database.read(all_rows)
    assert claimed(database, earlier.job_id, owner="worker-2/1") == first
    assert (first.checkpoint is None) == (epochs == 0)
    assert database.read(all_rows) == once


def test_storing_an_evaluation_again_is_idempotent(database: Database) -> None:
    _, model = succeeded(database)
    attempt = running(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)

    def write(session: Session) -> None:
        attempts.succeed_evaluation(session, attempt, model.id, "mnist", make_evaluation())

    database.write(write)
    once = database.read(all_rows)
    database.write(write)
    assert database.read(all_rows) == once


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_repeated_cancel_request_is_idempotent(database: Database, state: str) -> None:
    job_id = submitted(database) if state == "queued" else running(database).job_id
    database.write(lambda session: job_edits.request_cancel(session, job_id))
    once = database.read(all_rows)
    database.write(lambda session: job_edits.request_cancel(session, job_id))
    assert database.read(all_rows) == once
