"""What a migration that moves rows declares: the new schema, and how old rows become new ones.

`shared.db.moving` carries it out.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import CHAR, JSON, Connection, MetaData, Table, Uuid, inspect, select, text

OF_JOBS = "job_id > :after AND job_id <= :upto"
"""SQL for whether an old row belongs to a job of the batch."""

_AT_ONCE = 50  # rows
_ID_DIGITS = 32  # of an id that SQLite has as text
_ON_SQLITE = {
    "TIMESTAMP WITH TIME ZONE": "DATETIME",
    "DOUBLE PRECISION": "DOUBLE",
    r"\b(UUID|BYTEA)\b": "BLOB",
    "DEFAULT false": "DEFAULT 0",
    r"\s+WITH \(fillfactor = \d+\)": "",
}


@dataclass(frozen=True)
class Batch:
    """What one transaction moves: all that belongs to some jobs, or whole tables.

    Attributes:
        after, upto: the ids of the last job before the batch and of the last one in it, as the old tables
            have them; None: whole tables are moved.
        known: what is found out once about the tables.
    """

    connection: Connection
    after: Any = None
    upto: Any = None
    known: dict[str, Any] = field(default_factory=dict)

    def execute(self, sql: str) -> None:
        """Execute a statement, in which `:after`, `:upto` and `as_id(...)`, for an old id, may stand."""
        if not self._is_sqlite:
            sql = sql.replace("as_id(", "(")
        self.connection.execute(text(sql), self._bounds)

    def rows(self, table: str, where: str = OF_JOBS, columns: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Return the batch's rows of an old table, by the name that it had, in the order of its key.

        Ids are UUIDs, also on SQLite. Few rows are in memory at a time, as one may have megabytes.

        Args:
            columns: those that are read; none: all.
        """
        old = self.old(table)
        chosen = select(*(old.c[name] for name in columns or old.c.keys()))
        chosen = chosen.where(text(where)).order_by(*old.primary_key)
        found = self.connection.execute(chosen, self._bounds, execution_options={"yield_per": _AT_ONCE})
        return map(dict, found.mappings())

    def old(self, table: str) -> Table:
        """Return an old table by the name that it had."""
        return self._reflected(f"old_{table}")

    def insert(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert rows, which have the same columns, into a new table; ids are UUIDs."""
        new, stored = self._reflected(f"new_{table}"), map(self._stored, rows)
        while part := list(islice(stored, _AT_ONCE)):
            self.connection.execute(new.insert(), part)

    def _stored(self, row: Mapping[str, Any]) -> dict[str, Any]:
        if not self._is_sqlite:
            return dict(row)
        return {name: value.bytes if isinstance(value, UUID) else value for name, value in row.items()}

    @property
    def _bounds(self) -> dict[str, Any]:
        return {} if self.upto is None else {"after": self.after, "upto": self.upto}

    @property
    def _is_sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"

    def _reflected(self, name: str) -> Table:
        if name not in self.known:
            table = Table(name, MetaData(), autoload_with=self.connection, resolve_fks=False)
            for column in table.columns:
                if _is_text_id(column.type):
                    column.type = Uuid()
                elif isinstance(column.type, JSON):
                    column.type = JSON(none_as_null=True)
            self.known[name] = table
        found: Table = self.known[name]
        return found


Move = Callable[[Batch], object]
"""Moves what belongs to a batch from some old tables to some new ones."""


@dataclass(frozen=True)
class Copy:
    """A move of an old table, each of whose rows becomes one of a new table.

    Attributes:
        where: which rows are the batch's; empty: all.
        values: SQL for columns of the new table; the others have the value of the old column of their name.
        new: the name of the new table; empty: that of the old one.
    """

    table: str
    where: str = OF_JOBS
    values: Mapping[str, str] = field(default_factory=dict)
    new: str = ""

    def __call__(self, batch: Batch) -> None:
        """Copy the batch's rows."""
        key = f"copy of {self.table}"
        if key not in batch.known:
            batch.known[key] = self._statement(batch.connection)
        batch.execute(batch.known[key])

    def _statement(self, connection: Connection) -> str:
        inspector, new = inspect(connection), f"new_{self.new or self.table}"
        old = {
            column["name"]: f'as_id("{column["name"]}")'
            if _is_text_id(column["type"])
            else f'"{column["name"]}"'
            for column in inspector.get_columns(f"old_{self.table}")
        }
        values = old | dict(self.values)
        names = [column["name"] for column in inspector.get_columns(new)]
        columns = ", ".join(f'"{name}"' for name in names if name in values)
        selected = ", ".join(values[name] for name in names if name in values)
        where = f" WHERE {self.where}" if self.where else ""
        return f"INSERT INTO {new} ({columns}) SELECT {selected} FROM old_{self.table}{where}"


def _is_text_id(column_type: object) -> bool:
    return isinstance(column_type, CHAR) and column_type.length == _ID_DIGITS


@dataclass(frozen=True)
class Each:
    """A move of an old table, each of whose rows becomes one that a function returns.

    Attributes:
        where: which rows are the batch's.
        new: the new table; empty: that of the same name.
    """

    table: str
    changed: Callable[[dict[str, Any]], dict[str, Any]]
    where: str = OF_JOBS
    new: str = ""

    def __call__(self, batch: Batch) -> None:
        """Insert what the batch's rows become."""
        batch.insert(self.new or self.table, map(self.changed, batch.rows(self.table, self.where)))


@dataclass(frozen=True)
class Plan:
    """What a migration moves.

    Attributes:
        version: that of the schema, four digits.
        floor: the oldest version of Trainshed that may use the database from its beginning on.
        schema: the CREATE statements of all tables, in PostgreSQL's types.
        old: the old tables, each before those that it refers to.
        whole: moves of whole tables, all of them in one transaction.
        of_jobs: moves of what belongs to jobs, all of them in one transaction for some jobs.
    """

    version: str
    floor: str
    schema: str
    old: Sequence[str]
    whole: Sequence[Move]
    of_jobs: Sequence[Move]

    @property
    def half(self) -> str:
        """The version of a schema that is being moved, or that was left so."""
        return f"{int(self.version) - 1:04}+"


def statements(schema: str, dialect: str) -> list[str]:
    """Return a schema's CREATE statements for `sqlite` or `postgresql`."""
    joined = schema.strip().replace("\n        ", " ")
    if dialect == "sqlite":
        for pattern, replacement in _ON_SQLITE.items():
            joined = re.sub(pattern, replacement, joined)
    return re.split(r"\s+(?=CREATE )", joined)
