"""Positions: the one order of all jobs' events, in which a stream of them can be read without a gap.

A position is drawn when an event is written, and seen when its transaction is committed; in between, later
positions may be seen already. So whoever reads must know which positions can still appear. SQLite has one
writer at a time: none can. On PostgreSQL a writer takes a shared lock before it draws, and keeps it until its
transaction ends: `shared.store.events` asks who holds it. Nobody ever waits for that lock.

Events that one statement wrote together may share a position; (position, job, seq) is the whole order.
"""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

SEQUENCE = "job_event_positions"

# pg_locks shows the pair as (classid, objid); any numbers that no other program takes
WRITERS_LOCK = (0x7261696E, 1)


class NextPosition(FunctionElement[int]):
    """SQL for the position of an event that is being written."""

    inherit_cache = True
    type = BigInteger()


@compiles(NextPosition, "sqlite")
def _sqlite_position(_element: NextPosition, _compiler: SQLCompiler, **_options: Any) -> str:
    # one more than the last; and not below the clock's microseconds, since the last may have been deleted
    last = "(SELECT max(position) FROM job_events)"
    clock = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
    return f"max(coalesce({last}, 0) + 1, {clock})"


@compiles(NextPosition, "postgresql")
def _postgresql_position(_element: NextPosition, _compiler: SQLCompiler, **_options: Any) -> str:
    space, number = WRITERS_LOCK
    # the lock first: what stands after FROM is there before a row is made of it
    return f"(SELECT nextval('{SEQUENCE}') FROM pg_advisory_xact_lock_shared({space}, {number}))"
