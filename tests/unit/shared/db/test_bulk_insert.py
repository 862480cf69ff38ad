"""Bulk inserts store what an INSERT of each row would, by one statement."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from shared.db.engine import Database
from shared.db.statements import insert_rows
from shared.db.tables import Base
from tests.support import factories, queue_driver
from tests.support.statements import recorded_statements

_LINES = Base.metadata.tables["job_logs"]
_EVENTS = Base.metadata.tables["job_events"]
_AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def _lines(database: Database, **values: Any) -> list[dict[str, Any]]:
    line = {
        "job_id": queue_driver.submit(database),
        "attempt": 1,
        "at": _AT,
        "level": "INFO",
        "message": 'naïve, "quoted" and\nbroken',
        "fields": {"loss": 0.1 + 0.2, "nested": [None, True, {"a": "ä"}]},
        **values,
    }
    return [{**line, "number": number, "at": _AT + timedelta(seconds=number)} for number in range(1, 4)]


def test_rows_are_stored_as_they_are_by_one_statement(database: Database) -> None:
    rows = _lines(database)

    with recorded_statements(database) as statements:
        database.write(lambda session: insert_rows(session, _LINES, rows))

    assert sum(statement.sql.startswith("INSERT") for statement in statements) == 1
    stored = database.read(lambda session: session.execute(select(_LINES).order_by(_LINES.c.number)).all())
    assert [dict(row._mapping) for row in stored] == rows


def test_no_rows_take_no_statement(database: Database) -> None:
    with recorded_statements(database) as statements:
        database.write(lambda session: insert_rows(session, _LINES, []))

    assert not statements


def test_columns_that_the_rows_lack_have_their_defaults(database: Database) -> None:
    job_id = queue_driver.submit(database)
    event = {"job_id": job_id, "at": _AT, "type": "claimed", "attempt": 1, "data": {}}

    rows = [{**event, "seq": seq} for seq in (2, 3)]
    database.write(lambda session: insert_rows(session, _EVENTS, rows))

    positions = select(_EVENTS.c.position).order_by(_EVENTS.c.seq)
    first, second, third = database.read(lambda session: list(session.scalars(positions)))
    assert 0 < first < second <= third


@pytest.mark.parametrize("values", [{"message": None}, {"job_id": factories.make_new_job().id}])
def test_rows_that_the_database_refuses_are_an_error(database: Database, values: dict[str, Any]) -> None:
    rows = _lines(database, **values)

    with pytest.raises(DBAPIError):
        database.write(lambda session: insert_rows(session, _LINES, rows))
