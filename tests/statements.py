"""What a transaction asks the database, and how the database finds it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.orm import Session

from shared.db import Database

_NO_OTHER_WAY = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"


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
    """How the database goes about it, if it can by an index: of a small table it would read all."""
    with database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            explained = connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters
            )
        else:
            # what earlier tests left in the table and in its statistics would decide otherwise
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE jobs")
            connection.exec_driver_sql(_NO_OTHER_WAY)
            explained = connection.exec_driver_sql(f"EXPLAIN {statement.sql}", statement.parameters)
        return "\n".join(str(row[-1]) for row in explained)


def reads_only(plan: str, index: str) -> bool:
    """Whether a plan reads this index and neither the table nor a sorted copy of what it finds."""
    by_index = f"COVERING INDEX {index}" in plan or (
        f"using {index} " in plan and "Index Only Scan" in plan and "Index Scan" not in plan
    )
    return by_index and "TEMP B-TREE" not in plan and "Sort" not in plan and "Seq Scan" not in plan


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
