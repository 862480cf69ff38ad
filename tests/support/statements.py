"""What a transaction asks the database, and how the database finds it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from shared.db.engine import Database

# of what tests store PostgreSQL makes nothing but guesses; the benchmarks look at it with 100,000 jobs
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Statement(NamedTuple):
    """A statement as the driver gets it."""

    sql: str
    parameters: Any


def asked(database: Database, work: Callable[[Session], object]) -> list[Statement]:
    """The SELECTs of one read."""
    with listening(database) as found:
        database.read(work)
    return [statement for statement in found if statement.sql.startswith("SELECT")]


def plan(database: Database, statement: Statement) -> str:
    """How SQLite goes about it."""
    with database.engine.connect() as connection:
        explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
        return "\n".join(str(row[-1]) for row in explained)


def reads_only(plan: str, index: str) -> bool:
    """Whether a plan reads this index and neither the table nor a sorted copy of what it finds."""
    return f"COVERING INDEX {index}" in plan and "TEMP B-TREE" not in plan


@contextmanager
def listening(database: Database) -> Iterator[list[Statement]]:
    """Every statement that is given to the driver meanwhile."""
    found: list[Statement] = []

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> None:
        found.append(Statement(sql, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
