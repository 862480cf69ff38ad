"""Writes of ended attempts are refused, and writes repeated after a lost reply to a commit are idempotent."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy.orm import Session

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.errors import StaleAttempt
from shared.formats.results import Produced
from shared.lifecycle import Phase
from shared.store import attempts, job_edits, leases, recovery
from shared.store.idempotency import Idempotency
from shared.store.progress import Progress
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support.factories import (
    make_epoch,
    make_evaluate_spec,
    make_evaluation,
    make_model,
    make_new_job,
    make_progress,
)
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import claim, record, running, submit, succeed_attempt, succeeded
from tests.support.stored import all_rows

Write = Callable[[Session, AttemptId], Any]

_MODEL = make_model()
_FAILURE = AttemptFailure("internal", "it broke")
_CLOCK = FrozenClock()

_PROGRESS = {
    "nothing": make_progress(),
    "a phase": make_progress(Phase.TRAINING),
    "an epoch": make_progress(make_epoch(1)),
    "steps": make_progress(running=make_epoch(1)),
    "a phase and steps": make_progress(Phase.TRAINING, running=make_epoch(1)),
    "an epoch and steps": make_progress(make_epoch(1), running=make_epoch(2)),
    "phases and epochs": make_progress(
        Phase.LOADING_DATA, Phase.TRAINING, make_epoch(1), make_epoch(2), Phase.EVALUATING
    ),
}


def _record(session: Session, attempt: AttemptId, progress: Progress) -> None:
    attempts.record(session, attempt, progress, lease_s=30, now=_CLOCK)


def _renew(session: Session, attempt: AttemptId) -> None:
    if not leases.renew(session, [attempt], lease_s=30, now=_CLOCK):
        raise StaleAttempt


_ENDS: dict[str, Callable[..., Any]] = {
    "succeed": partial(succeed_attempt, produced=_MODEL.produced),
    "fail": partial(attempts.fail, failure=_FAILURE, retry_in_s=None),
    "retry": partial(attempts.fail, failure=_FAILURE, retry_in_s=5),
    "cancel_attempt": attempts.cancel_attempt,
    "release": attempts.release,
}

# what a worker writes under an attempt that has recorded one epoch
_WRITES: dict[str, Write] = {
    "renew": _renew,
    **{
        f"record {name}": partial(_record, progress=progress)
        for name, progress in _PROGRESS.items()
        if progress.milestones or progress.running
    },
    **{
        f"{name} with {progress}": partial(end, progress=_PROGRESS[progress], now=_CLOCK)
        for name, end in _ENDS.items()
        for progress in _PROGRESS
    },
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


def _reaped(database: Database, attempt: AttemptId, max_lost_attempts: int = 3) -> None:
    reaped = database.write(
        partial(recovery.reap, max_lost_attempts=max_lost_attempts, lease_s=30.0, now=_after_the_lease)
    )
    assert [lost.attempt for lost in reaped] == [attempt]


def _reclaimed(database: Database, attempt: AttemptId) -> None:
    _reaped(database, attempt)
    claim(database, attempt.job_id, owner="worker-2/1")


def _failed_by_the_reaper(database: Database, attempt: AttemptId) -> None:
    _reaped(database, attempt, max_lost_attempts=1)


def _cancelled_by_the_reaper(database: Database, attempt: AttemptId) -> None:
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
    _reaped(database, attempt)


def _reclaimed_and_succeeded(database: Database, attempt: AttemptId) -> None:
    _reaped(database, attempt)
    second = claim(database, attempt.job_id, owner="worker-2/1").attempt
    database.write(lambda session: succeed_attempt(session, second, make_model().produced))


def _reclaimed_and_released(database: Database, attempt: AttemptId) -> None:
    _reaped(database, attempt)
    second = claim(database, attempt.job_id, owner="worker-2/1").attempt
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


@pytest.mark.parametrize("progress", _PROGRESS)
@pytest.mark.parametrize("end", ["retry", "release"])
def test_a_repeated_end_of_an_attempt_does_not_affect_the_next_attempt(
    database: Database, end: str, progress: str
) -> None:
    name = f"{end} with {progress}"
    # the reply to the first commit was lost, and the job was claimed before the write was repeated
    attempt = running(database)
    record(database, attempt, 1)
    _run(database, name, attempt)
    claim(database, attempt.job_id, owner="worker-2/1")
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
    first = claim(database, earlier.job_id, owner="worker-2/1")
    once = database.read(all_rows)
    assert claim(database, earlier.job_id, owner="worker-2/1") == first
    assert (first.checkpoint is None) == (epochs == 0)
    assert database.read(all_rows) == once


def test_storing_an_evaluation_again_is_idempotent(database: Database) -> None:
    _, model = succeeded(database)
    attempt = running(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)

    def write(session: Session) -> None:
        succeed_attempt(session, attempt, Produced(result=make_evaluation()), evaluated=model.id)

    database.write(write)
    once = database.read(all_rows)
    database.write(write)
    assert database.read(all_rows) == once


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_repeated_cancel_request_is_idempotent(database: Database, state: str) -> None:
    job_id = submit(database) if state == "queued" else running(database).job_id
    database.write(lambda session: job_edits.request_cancel(session, job_id))
    once = database.read(all_rows)
    database.write(lambda session: job_edits.request_cancel(session, job_id))
    assert database.read(all_rows) == once
