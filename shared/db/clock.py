"""Time, as the database tells it.

Processes on several hosts compare leases, so they must read one clock: the database's. A `Now` is a
function that gives the SQL expression for "now, and so many seconds"; production passes `database_now`, tests
a function that gives literals.
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
    """Gives the SQL expression for the present moment plus an offset in seconds."""

    def __call__(self, offset_s: float = 0.0, /) -> ColumnElement[datetime]:
        """The moment that lies `offset_s` seconds ahead (negative: behind)."""


class _DatabaseNow(FunctionElement[datetime]):
    """Takes one argument, a text such as `+30.000000 seconds`; bound, so that statements stay cached."""

    inherit_cache = True
    type = UtcDateTime()


@compiles(_DatabaseNow, "sqlite")
def _sqlite_now(element: _DatabaseNow, compiler: SQLCompiler, **options: Any) -> str:
    # the text that SQLAlchemy stores, so that comparing texts compares times; SQLite knows milliseconds
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {compiler.process(element.clauses, **options)})"


@compiles(_DatabaseNow, "postgresql")
def _postgresql_now(element: _DatabaseNow, compiler: SQLCompiler, **options: Any) -> str:
    # not now(), which stands still during a transaction that waited for a lock
    return f"(clock_timestamp() + CAST({compiler.process(element.clauses, **options)} AS interval))"


class _Seconds(FunctionElement[float]):
    """Takes two moments."""

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
    """SQL for the seconds from one moment to another, to about 0.1 ms; NULL if either is NULL."""
    return _Seconds(start, end)


def database_now(offset_s: float = 0.0, /) -> ColumnElement[datetime]:
    """The database's own clock, in UTC."""
    return _DatabaseNow(f"{offset_s:+.6f} seconds")
