"""Copies of a stored job, by the hundred thousand: one INSERT ... SELECT for each table.

Drawing a million jobs in Python would take longer than the benchmarks that use them.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.tables import Base, Job

_COPIES_PER_INSERT = 100_000
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS "
    "(SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)",
    "postgresql": "WITH numbers AS "
    "(SELECT generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n)",
}
_ID = {"sqlite": "unhex(printf('%032x', n))", "postgresql": "lpad(to_hex(n), 32, '0')::uuid"}

Changes = Mapping[str, str]
"""SQL expressions for the columns in which copies differ; `n` is the number of the copy."""


def store_copies(
    database: Database,
    job_id: UUID,
    count: int,
    changes: Changes,
    parts: Mapping[type[Base], Changes] | None = None,
) -> None:
    """Store copies of a job, whose ids are the numbers 1 to `count`, and update the database's statistics.

    Args:
        parts: tables with a column `job_id`, whose rows of the job are copied too, with their changes.
    """
    dialect = database.engine.dialect.name
    tables: list[tuple[type[Base], str, Changes]] = [
        (Job, "id", changes),
        *((table, "job_id", changes) for table, changes in (parts or {}).items()),
    ]
    inserts = [
        text(_insert(dialect, table, key, {**changes, key: _ID[dialect]})) for table, key, changes in tables
    ]
    for numbers in _batches(count):
        with database.engine.begin() as connection:
            for insert in inserts:
                template = job_id.bytes if dialect == "sqlite" else job_id
                connection.execute(insert, {**numbers, "template": template})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE" if dialect == "sqlite" else "VACUUM ANALYZE")


def _insert(dialect: str, table: type[Base], key: str, changes: Changes) -> str:
    columns = [column.name for column in table.__table__.columns]
    values = ", ".join(changes.get(column, column) for column in columns)
    name = table.__tablename__
    # SQLite, too, accepts WITH before INSERT
    return (
        f"{_NUMBERS[dialect]} INSERT INTO {name} ({', '.join(columns)}) "
        f"SELECT {values} FROM {name}, numbers WHERE {key} = :template"
    )


def _batches(count: int) -> Iterable[dict[str, int]]:
    for first in range(1, count + 1, _COPIES_PER_INSERT):
        yield {"first": first, "last": min(first + _COPIES_PER_INSERT - 1, count)}
