"""Lines logged during an attempt, and no others, are stored with its job."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text
from sqlalchemy.orm import Session

from shared import log
from shared.db.engine import Database
from shared.schemas import JobLogLine, LogLevel
from shared.store import job_logs
from shared.texts import storable
from tests.support import stored
from tests.support.factories import make_spec
from tests.support.hostile_texts import TEXTS
from tests.support.queue_driver import AttemptId, running, submit
from tests.support.stub_executor import Behaviour, StubExecutor
from tests.unit.workers.conftest import MakeProcess, run_next
from workers.job_log_handler import REPEATS_EVENTS, JobLogHandler

T = TypeVar("T")


@pytest.fixture
def job_log() -> Iterator[JobLogHandler]:
    """A handler attached to the root logger, as in a pool process."""
    handler, root = JobLogHandler(hide=lambda text: text.replace("hunter2", "***")), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


def stored_lines(database: Database, attempt: AttemptId) -> list[Any]:
    return list(stored.log_lines(database, attempt.job_id))


def stored_messages(database: Database, attempt: AttemptId) -> str:
    return "\n".join(row.message for row in stored_lines(database, attempt))


def test_only_lines_logged_during_an_attempt_are_stored(database: Database, job_log: JobLogHandler) -> None:
    attempt, library = running(database), logging.getLogger("a.library")
    library.warning("before")
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        library.warning("it says %d", 7)
        library.debug("too much")
    library.warning("after")
    job_log.write(database)
    assert [(row.attempt, row.number, row.level, row.message) for row in stored_lines(database, attempt)] == [
        (1, 1, "warning", "it says 7")
    ]


def test_fields_of_a_structured_line_are_stored_without_secrets_and_invalid_values(
    database: Database, job_log: JobLogHandler
) -> None:
    attempt = running(database)
    record = logging.LogRecord("ours", logging.ERROR, "file", 1, {}, None, None)
    record.msg = {  # what structlog hands to a handler
        "event": "it broke\x00",
        "level": "error",
        "job_id": str(attempt.job_id),
        "epoch": 3,
        "loss": float("nan"),
        "why": "hunter2",
    }
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        job_log.handle(record)
    job_log.write(database)
    (row,) = stored_lines(database, attempt)
    assert (row.level, row.message) == (LogLevel.ERROR, "it broke?")
    assert row.fields == {"epoch": 3, "loss": "nan", "why": "***"}


def test_a_short_job_leaves_four_events_an_attempt_and_no_line(
    make_process: MakeProcess,
    database: Database,
    job_log: JobLogHandler,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, REPEATS_EVENTS)
    process = make_process()
    process = replace(process, executor=StubExecutor(process.settings, step_s=0.0))
    submit(database, spec=make_spec(epochs=1))
    run_next(process)
    job_log.write(database)
    logged = [vars(record)["msg"]["event"] for record in caplog.records if record.name == REPEATS_EVENTS]
    assert logged == ["attempt 1 started", "attempt 1 succeeded"], "the worker's own log has them"
    tables = ("jobs", "job_events", "attempts", "job_logs", "environments")
    rows = database.read(stored.all_rows)
    assert [len(rows[table]) for table in tables] == [1, 4, 1, 0, 1]
    types = [event.type for event in rows["job_events"]]
    assert types == ["submitted", "claimed", "progress", "succeeded"]


def test_why_an_attempt_failed_is_stored_with_its_traceback(
    make_process: MakeProcess, database: Database, job_log: JobLogHandler
) -> None:
    process = make_process()
    attempt = AttemptId(submit(database, spec=make_spec(seed=Behaviour.RAISES)), 1)
    run_next(process)
    job_log.write(database)
    [line] = stored_lines(database, attempt)
    assert (line.level, line.message) == (LogLevel.ERROR, "attempt failed")
    assert "Traceback" in line.fields["exception"]


def test_an_unavailable_database_loses_lines_and_raises_nothing(
    database: Database, job_log: JobLogHandler
) -> None:
    attempt = running(database)
    database.write(lambda session: session.execute(text("ALTER TABLE job_logs RENAME TO elsewhere")))
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        logging.getLogger("a.library").warning("nobody will read this")
    job_log.write(database)
    database.write(lambda session: session.execute(text("ALTER TABLE elsewhere RENAME TO job_logs")))
    assert stored_lines(database, attempt) == []


def test_lines_beyond_the_limit_of_a_job_are_dropped(
    database: Database, job_log: JobLogHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "MAX_LINES", 5)
    attempt = running(database)
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        for number in range(20):
            logging.getLogger("a.library").warning("line %d", number)
    job_log.write(database)
    assert len(stored_lines(database, attempt)) == 5


def _log_in(attempt: AttemptId, handler: JobLogHandler, event: Any, **fields: Any) -> None:
    """Log a line within an attempt, as structlog hands it to a handler."""
    record = logging.LogRecord("ours", logging.INFO, "file", 1, {}, None, None)
    record.msg = {"event": event, **fields}
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        handler.handle(record)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_any_text_is_stored_and_can_be_read(database: Database, text: str) -> None:
    attempt, handler = running(database), JobLogHandler()
    name = f"a {text}"  # not one of those that are columns
    _log_in(attempt, handler, text, **{name: text, "of type": {text: [text]}})
    handler.write(database)
    [row] = stored_lines(database, attempt)
    assert row.message == storable(text)
    assert row.fields[storable(name)] == storable(text)
    line = {name: getattr(row, name) for name in ("attempt", "at", "level", "message", "fields")}
    assert JobLogLine(cursor="x", **line).model_dump_json()


def test_a_line_that_cannot_be_formatted_is_replaced_by_one_that_says_so(
    database: Database, job_log: JobLogHandler
) -> None:
    class Unreadable:
        def __str__(self) -> str:
            raise LookupError

    attempt = running(database)
    _log_in(attempt, job_log, "first")
    _log_in(attempt, job_log, Unreadable())
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        job_log.handle(logging.LogRecord("a.library", logging.INFO, "file", 1, "%d", ("x",), None))
    _log_in(attempt, job_log, "last")
    job_log.write(database)
    messages = [row.message for row in stored_lines(database, attempt)]
    assert messages == [
        "first",
        "a line that could not be stored, LookupError: the worker's own log may have it",
        "a line that could not be stored, TypeError: the worker's own log may have it",
        "last",
    ]


def test_a_line_that_the_database_refuses_is_replaced_and_the_others_are_stored(
    database: Database, job_log: JobLogHandler
) -> None:
    attempts = [running(database), running(database)]
    for attempt in attempts:
        _log_in(attempt, job_log, "before")
        _log_in(attempt, job_log, "with a number that JSON cannot hold", number=10**5_000)
        _log_in(attempt, job_log, "after")
    job_log.write(database)
    for attempt in attempts:
        first, second, third = (row.message for row in stored_lines(database, attempt))
        assert (first, third) == ("before", "after")
        assert second.startswith("a line that could not be stored")


def test_the_next_jobs_lines_are_stored_after_an_error(database: Database) -> None:
    class Failing(Database):
        fails = True

        def write(self, work: Callable[[Session], T]) -> T:
            if self.fails:
                raise RuntimeError("whatever it is")
            return super().write(work)

    with Failing(database.engine.url.render_as_string(hide_password=False)) as failing:
        handler, attempt = JobLogHandler(), running(database)
        _log_in(attempt, handler, "lost")
        handler.write(failing)
        failing.fails = False
        _log_in(attempt, handler, "kept")
        handler.write(failing)
    assert stored_messages(database, attempt) == "kept"
