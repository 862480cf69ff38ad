"""The SQL statements that a transaction sends, and SQLite's plans for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from shared.db.engine import Database

# PostgreSQL plans a test's few rows as a table scan; the benchmarks look at its plans with 100,000 jobs
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Statement(NamedTuple):
    """A statement as the driver receives it."""

    sql: str
    parameters: Any

    @property
    def is_boundary(self) -> bool:
        """Whether it begins or ends a transaction."""
        return self.sql.startswith(("PRAGMA", "BEGIN", "COMMIT"))


def selects(database: Database, work: Callable[[Session], object]) -> list[Statement]:
    """The SELECT statements of one read transaction."""
    with recorded_statements(database) as statements:
        database.read(work)
    return [statement for statement in statements if statement.sql.startswith("SELECT")]


def plan(database: Database, statement: Statement) -> str:
    """SQLite's query plan of a statement."""
    with database.engine.connect() as connection:
        explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
        return "\n".join(str(row[-1]) for row in explained)


def reads_only(plan: str, index: str) -> bool:
    """Whether a plan reads this index alone: neither the table, nor a sort of the rows."""
    return f"COVERING INDEX {index}" in plan and "TEMP B-TREE" not in plan


@contextmanager
def recorded_statements(database: Database) -> Iterator[list[Statement]]:
    """Every statement that the database's engines send within the block, in order."""
    statements: list[Statement] = []

    def record(_connection: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> None:
        statements.append(Statement(sql, parameters))

    # PostgreSQL's engine of reads is the other one with options, whose events it has
    engines = {id(engine.pool): engine for engine in (database.read_engine, database.engine)}.values()
    for engine in engines:
        event.listen(engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", record)
