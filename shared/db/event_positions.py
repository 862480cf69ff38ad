"""Positions of events: a total order of all jobs' events that can be read as a stream without gaps.

A position is drawn when an event is inserted and becomes visible when its transaction commits. In between,
greater positions may be visible already, so a reader must know which lower ones can still appear. On SQLite,
which has one writer at a time, none can. On PostgreSQL each writer takes a shared advisory lock before it
draws and keeps it until its transaction ends; `shared.store.events` reads who holds it. Nobody waits for it.

Events that one statement inserts may share a position; the order is (position, job, seq).
"""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

SEQUENCE = "job_event_positions"

# shown by pg_locks as (classid, objid); arbitrary numbers that no other program should use
WRITERS_LOCK = (0x7261696E, 1)


RAISE_TO_CLOCK = f"""
SELECT setval('{SEQUENCE}', clock.us)
FROM {SEQUENCE} AS drawn,
    (SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS bigint) AS us) AS clock
WHERE drawn.last_value < clock.us
"""
"""SQL that raises PostgreSQL's next position to the clock in microseconds, from which SQLite's begin anyway.

After a restore from a backup the sequence draws positions again that streams have passed, so that they would
skip events. Only one transaction at a time may do this: of two, the second could lower it.
"""


class NextPosition(FunctionElement[int]):
    """SQL expression for the position of an event that is being inserted."""

    inherit_cache = True
    type = BigInteger()


@compiles(NextPosition, "sqlite")
def _sqlite_position(_element: NextPosition, _compiler: SQLCompiler, **_options: Any) -> str:
    # above the last one, and not below the clock in microseconds, because the last one may have been deleted
    last = "(SELECT max(position) FROM job_events)"
    clock = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
    return f"max(coalesce({last}, 0) + 1, {clock})"


@compiles(NextPosition, "postgresql")
def _postgresql_position(_element: NextPosition, _compiler: SQLCompiler, **_options: Any) -> str:
    space, number = WRITERS_LOCK
    # the lock comes first: FROM is evaluated before the select list
    return f"(SELECT nextval('{SEQUENCE}') FROM pg_advisory_xact_lock_shared({space}, {number}))"
