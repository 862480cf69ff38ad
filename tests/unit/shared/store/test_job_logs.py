"""Job logs: lines are stored once and in order, limited in number, and filtered."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete

from shared.db.engine import Database
from shared.db.tables import Job
from shared.schemas import LogLevel
from shared.store import job_logs
from shared.store.job_logs import Line
from shared.store.transitions import AttemptId
from tests.support.queue_driver import running
from tests.support.statements import recorded_statements

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def make_line(number: int, **overrides: Any) -> Line:
    values: dict[str, Any] = {"level": LogLevel.INFO, "message": f"line {number}", "fields": {}}
    return Line(**{"number": number, "at": AT, **values, **overrides})


def append(database: Database, attempt: AttemptId, *lines: Line) -> None:
    database.write(partial(job_logs.append, lines={attempt: lines}))


def stored(database: Database, attempt: AttemptId, **filters: Any) -> list[str]:
    rows = database.read(
        lambda session: job_logs.lines(session, attempt.job_id, **{"limit": 9_999, **filters})
    )
    return [row.message for row in rows]


def test_lines_are_read_as_they_were_stored_and_in_order(database: Database) -> None:
    attempt = running(database)
    append(database, attempt, make_line(1), make_line(2, level=LogLevel.ERROR, fields={"epoch": 3}))
    append(database, attempt, make_line(3))
    rows = database.read(lambda session: job_logs.lines(session, attempt.job_id, limit=10))
    assert [(row.number, row.at, row.level, row.message, row.fields) for row in rows] == [
        (1, AT, "info", "line 1", {}),
        (2, AT, "error", "line 2", {"epoch": 3}),
        (3, AT, "info", "line 3", {}),
    ]


def test_appending_lines_again_is_idempotent(database: Database) -> None:
    attempt = running(database)
    for _ in range(2):
        append(database, attempt, make_line(1), make_line(2))
    assert stored(database, attempt) == ["line 1", "line 2"]


def test_a_log_ends_with_a_notice_at_the_limit_of_lines(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "MAX_LINES", 3)
    attempt = running(database)
    append(database, attempt, make_line(1), make_line(2))
    append(database, attempt, *map(make_line, range(3, 6)))
    append(database, attempt, make_line(6))
    append(database, AttemptId(attempt.job_id, 2), make_line(1))
    first, second, full = stored(database, attempt)
    assert (first, second) == ("line 1", "line 2")
    assert full.endswith("what follows is in the worker's own log")
    database.write(partial(job_logs.append_last, attempt=attempt, level=LogLevel.ERROR, message="lost"))
    assert stored(database, attempt)[-1] == "lost"


def test_lines_of_a_deleted_job_are_discarded(database: Database) -> None:
    attempt = running(database)
    append(database, attempt, make_line(1))
    database.write(lambda session: session.execute(delete(Job).where(Job.id == attempt.job_id)))
    append(database, attempt, make_line(2))
    assert stored(database, attempt) == []


def test_lines_of_several_attempts_are_stored_in_three_statements(database: Database) -> None:
    first, other = running(database), running(database)
    second, deleted = AttemptId(first.job_id, 2), running(database)
    database.write(lambda session: session.execute(delete(Job).where(Job.id == deleted.job_id)))
    append(database, first, make_line(1))
    lines = {
        first: [make_line(1), make_line(2)],
        deleted: [make_line(1)],
        second: [make_line(1, message="again")],
        other: [make_line(1, message="of the other")],
    }
    with recorded_statements(database) as statements:
        database.write(partial(job_logs.append, lines=lines))
    assert sum(not statement.is_boundary for statement in statements) == 3
    assert stored(database, first) == ["line 1", "line 2", "again"]
    assert stored(database, other) == ["of the other"]


def test_lines_are_filtered_by_level_text_and_position(database: Database) -> None:
    attempt = running(database)
    later = AttemptId(attempt.job_id, 2)
    append(database, attempt, make_line(1, level=LogLevel.DEBUG), make_line(2, message="100% of ü"))
    append(database, later, make_line(1, level=LogLevel.CRITICAL, message="the end"))
    assert stored(database, attempt, level=LogLevel.INFO) == ["100% of ü", "the end"]
    assert stored(database, attempt, level=LogLevel.ERROR) == ["the end"]
    assert stored(database, attempt, text="THE") == ["the end"]
    assert stored(database, attempt, text="0% o") == ["100% of ü"]
    assert stored(database, attempt, text="1_0") == []
    assert stored(database, attempt, after=(1, 1)) == ["100% of ü", "the end"]
    assert stored(database, attempt, after=(1, 2)) == ["the end"]
    assert stored(database, attempt, limit=1) == ["line 1"]
