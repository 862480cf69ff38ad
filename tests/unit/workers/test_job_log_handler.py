"""Lines logged during an attempt, and no others, are stored with its job."""

import logging
from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import text

from shared import log
from shared.db.engine import Database
from shared.db.tables import JobLog as Row
from shared.schemas import LogLevel
from shared.store import job_logs
from shared.store.submit import submit_job
from shared.store.transitions import AttemptId
from tests.support.factories import make_new_job, running
from tests.support.waiting import wait_until
from tests.unit.workers.conftest import MakeProcess
from workers.job_log_handler import JobLogHandler
from workers.runner import run_attempt


@pytest.fixture
def job_log(database: Database) -> Iterator[JobLogHandler]:
    """A handler attached to the root logger, as in a pool process."""
    handler, root = (
        JobLogHandler(database, hide=lambda text: text.replace("hunter2", "***")),
        logging.getLogger(),
    )
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)
    handler.close()


def stored_lines(database: Database, attempt: AttemptId) -> list[Row]:
    return list(database.read(partial(job_logs.lines, job_id=attempt.job_id, limit=100)))


def stored_messages(database: Database, attempt: AttemptId) -> str:
    return "\n".join(row.message for row in stored_lines(database, attempt))


def test_only_lines_logged_during_an_attempt_are_stored(database: Database, job_log: JobLogHandler) -> None:
    attempt, library = running(database), logging.getLogger("a.library")
    library.warning("before")
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        library.warning("it says %d", 7)
        library.debug("too much")
    library.warning("after")
    job_log.close()
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
    job_log.close()
    (row,) = stored_lines(database, attempt)
    assert (row.level, row.message) == (LogLevel.ERROR, "it broke?")
    assert row.fields == {"epoch": 3, "loss": "nan", "why": "***"}


@pytest.mark.usefixtures("job_log")
def test_every_event_of_an_attempt_is_stored(make_process: MakeProcess, database: Database) -> None:
    process = make_process()
    new = make_new_job()
    process.database.write(lambda session: submit_job(session, new))
    run_attempt(process)
    attempt = AttemptId(new.id, 1)
    wait_until(lambda: "attempt ended" in stored_messages(database, attempt), "the last line is stored")
    for message in ("attempt started", "phase entered", "epoch finished"):
        assert message in stored_messages(database, attempt)


def test_an_unavailable_database_loses_lines_and_raises_nothing(
    database: Database, job_log: JobLogHandler
) -> None:
    attempt = running(database)
    database.write(lambda session: session.execute(text("ALTER TABLE job_logs RENAME TO elsewhere")))
    with log.bound(job_id=str(attempt.job_id), attempt=attempt.number):
        logging.getLogger("a.library").warning("nobody will read this")
    job_log.close()
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
    job_log.close()
    assert len(stored_lines(database, attempt)) == 5
