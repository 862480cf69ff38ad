"""The database's clock, as SQL expressions.

Processes on several hosts compare leases, so all of them use one clock: the database's. A `Now` is a function
that returns the SQL expression for the present plus an offset; production passes `database_now`, tests a
function that returns literals.
"""

from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from shared.db.tables import UtcDateTime

Moment = ColumnElement[datetime] | InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None]


class Now(Protocol):
    """A function that returns the SQL expression for the present plus an offset in seconds."""

    def __call__(self, offset_s: float = 0.0, /) -> ColumnElement[datetime]:
        """Return the moment `offset_s` seconds from now; negative values are in the past."""

    def __hash__(self) -> int:
        """Statements that are built once are kept for each clock."""


class _DatabaseNow(FunctionElement[datetime]):
    """The present plus an offset, a text such as `+30.000000 seconds`; bound, so statements are cached."""

    inherit_cache = True
    type = UtcDateTime()


@compiles(_DatabaseNow, "sqlite")
def _sqlite_now(element: _DatabaseNow, compiler: SQLCompiler, **options: Any) -> str:
    # the text format in which SQLAlchemy stores datetimes, so that texts compare as times; SQLite has ms
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {compiler.process(element.clauses, **options)})"


@compiles(_DatabaseNow, "postgresql")
def _postgresql_now(element: _DatabaseNow, compiler: SQLCompiler, **options: Any) -> str:
    # not now(), which is the transaction's start, also after a wait for a lock
    return f"(clock_timestamp() + CAST({compiler.process(element.clauses, **options)} AS interval))"


class _Seconds(FunctionElement[float]):
    """The seconds between two moments."""

    inherit_cache = True
    type = Double()


@compiles(_Seconds, "sqlite")
def _sqlite_seconds(element: _Seconds, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(moment, **options) for moment in element.clauses)
    return f"(julianday({end}) - julianday({start})) * 86400"


@compiles(_Seconds, "postgresql")
def _postgresql_seconds(element: _Seconds, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(moment, **options) for moment in element.clauses)
    return f"EXTRACT(EPOCH FROM ({end}) - ({start}))"


def seconds_between(start: Moment, end: Moment) -> ColumnElement[float]:
    """Return SQL for the seconds from `start` to `end`, precise to about 0.1 ms; NULL if either is NULL."""
    return _Seconds(start, end)


class _Minute(FunctionElement[datetime]):
    """The beginning of the minute of a moment."""

    inherit_cache = True
    type = UtcDateTime()


@compiles(_Minute, "sqlite")
def _sqlite_minute(element: _Minute, compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 16) || ':00.000000'"


@compiles(_Minute, "postgresql")
def _postgresql_minute(element: _Minute, compiler: SQLCompiler, **options: Any) -> str:
    return f"date_trunc('minute', {compiler.process(element.clauses, **options)})"


def minute_of(moment: Moment) -> ColumnElement[datetime]:
    """Return SQL for the beginning of a moment's minute in UTC; NULL if the moment is NULL."""
    return _Minute(moment)


def database_now(offset_s: float = 0.0, /) -> ColumnElement[datetime]:
    """Return SQL for the database's time in UTC plus `offset_s` seconds."""
    return _DatabaseNow(f"{offset_s:+.6f} seconds")
