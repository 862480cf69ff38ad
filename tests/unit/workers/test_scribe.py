"""The scribe of a pool process writes what the thread of its job leaves behind, on the same connection."""

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import text

from shared import log
from shared.db.engine import Database
from shared.lifecycle import Phase
from shared.store.known_turns import KnownTurns
from tests.support import stored
from tests.support.fakes import MonotonicClock
from tests.support.injected_errors import injected
from tests.support.queue_driver import AttemptId, release, running, submit
from tests.support.statements import recorded_statements
from tests.support.waiting import wait_until
from tests.unit.workers.conftest import MakeProcess, claim_one
from workers.job_log_handler import JobLogHandler
from workers.pending import PendingProgress
from workers.scribe import Scribe


@pytest.fixture
def shared_connection(database_url: str) -> Iterator[Database]:
    """A database whose one connection the thread of the job and the scribe share."""
    with Database(database_url, connections=1) as database:
        yield database


def _log(handler: JobLogHandler, attempt: AttemptId, message: str) -> None:
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        handler.handle(logging.LogRecord("a.library", logging.WARNING, "file", 1, message, None, None))


def _scribe(database: Database, job_log: JobLogHandler) -> Scribe:
    return Scribe(database, KnownTurns(), job_log, settle_s=10.0, interval_s=0.01)


def _has_lines(database: Database, attempt: AttemptId, number: int) -> bool:
    return len(stored.log_lines(database, attempt.job_id)) == number


def test_lines_are_stored_while_no_attempt_runs_too(shared_connection: Database) -> None:
    attempt, handler = running(shared_connection), JobLogHandler()
    with closing(_scribe(shared_connection, handler)) as scribe:
        scribe.start()
        for number in (1, 2):
            _log(handler, attempt, f"line {number}")
            wait_until(partial(_has_lines, shared_connection, attempt, number), "it is stored")
        _log(handler, attempt, "the last one")
    assert [line.message for line in stored.log_lines(shared_connection, attempt.job_id)][
        -1
    ] == "the last one"


def test_a_transaction_of_the_job_is_waited_for(shared_connection: Database) -> None:
    attempt, handler = running(shared_connection), JobLogHandler()
    pending = PendingProgress(attempt, lease_s=30.0, interval_s=0.0)
    with closing(_scribe(shared_connection, handler)) as scribe, scribe.writing(pending):
        scribe.start()

        def work(_session: object) -> None:
            pending.add_phase(Phase.TRAINING)
            _log(handler, attempt, "amid a transaction")
            wait_until(lambda: not handler._pending, "the scribe has begun to write")

        shared_connection.write(work)
        wait_until(
            lambda: (
                stored.job(shared_connection, attempt.job_id).phase == Phase.TRAINING
                and stored.log_lines(shared_connection, attempt.job_id)
            ),
            "all is written",
        )


def test_what_a_job_has_used_is_settled_while_it_runs(make_process: MakeProcess) -> None:
    clock = MonotonicClock()
    turns = KnownTurns(monotonic=clock)
    process = replace(make_process(), turns=turns)
    submit(process.database, tenant="a")
    claim = claim_one(process)
    assert claim is not None
    scribe = Scribe(process.database, turns, JobLogHandler(), settle_s=10.0, clock=clock)
    used = text("SELECT max(time_s) FROM tenants")

    def used_s() -> float:
        return process.database.read(lambda session: session.scalar(used)) or 0.0

    before = used_s()
    with scribe.writing(PendingProgress(claim.attempt, lease_s=30.0)):
        with recorded_statements(process.database) as statements:
            clock.advance(9.0)
            scribe.write()
        assert statements == []
        clock.advance(1.0)
        scribe.write()
    assert used_s() == before + 10.0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_outage_is_logged_once_and_the_progress_is_written_after_it(
    shared_connection: Database, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = running(shared_connection)
    scribe, pending = (
        _scribe(shared_connection, JobLogHandler()),
        PendingProgress(attempt, lease_s=30.0, interval_s=0.0),
    )
    pending.add_phase(Phase.TRAINING)
    with scribe.writing(pending):
        with injected("53100", "lease_expires_at"):
            for _ in range(3):
                scribe.write()
        assert caplog.text.count("progress is not written") == 1
        scribe.write()
    assert stored.job(shared_connection, attempt.job_id).phase == Phase.TRAINING


def test_progress_of_an_attempt_that_has_ended_is_dropped_in_silence(
    shared_connection: Database, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = running(shared_connection)
    scribe, pending = (
        _scribe(shared_connection, JobLogHandler()),
        PendingProgress(attempt, lease_s=30.0, interval_s=0.0),
    )
    release(shared_connection, attempt)
    pending.add_phase(Phase.TRAINING)
    with scribe.writing(pending):
        scribe.write()
    assert caplog.text == ""


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_waits_for_an_attempt_is_unloaded_although_its_progress_is_refused(
    shared_connection: Database,
) -> None:
    attempt = running(shared_connection)
    scribe, pending = (
        _scribe(shared_connection, JobLogHandler()),
        PendingProgress(attempt, lease_s=30.0, interval_s=0.0),
    )
    pending.add_phase(Phase.TRAINING)
    unloaded: list[Database] = []
    with scribe.writing(pending, unloaded.append), injected("53100", "lease_expires_at"):
        scribe.write()
    assert len(unloaded) == 1
