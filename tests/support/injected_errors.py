"""Errors in place of what a statement does: of PostgreSQL itself, by SQLSTATE, or of SQLite's driver."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

from sqlalchemy import Connection, Engine, event

OUTAGES = {
    "08000": "connection exception",
    "08001": "the server cannot be reached",
    "08003": "the connection does not exist",
    "08004": "the server rejected the connection",
    "08006": "connection failure",
    "08007": "transaction resolution unknown",
    "08P01": "protocol violation, of a connection pooler",
    "25P03": "idle in the transaction for too long",
    "25P04": "the transaction took too long",
    "40001": "serialization failure",
    "40003": "statement completion unknown",
    "40P01": "deadlock",
    "53000": "insufficient resources",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "53400": "configuration limit exceeded",
    "55P03": "lock not available",
    "57014": "query cancelled",
    "57P01": "shutdown by an administrator",
    "57P02": "shutdown after a crash",
    "57P03": "cannot connect now",
    "57P04": "database dropped",
    "57P05": "idle session ended",
    "58000": "system error",
    "58030": "I/O error",
}
"""What each SQLSTATE of an outage means."""


def raising(sqlstate: str) -> str:
    """SQL that raises an error with this SQLSTATE."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{sqlstate}'; END $$"


@dataclass
class Injection:
    """Replaces the first `times` statements of all engines that contain a text.

    Attributes:
        count: how many statements were replaced.
    """

    sqlstate: str
    part: str
    times: float
    count: int = 0

    def replace(
        self, _connection: Connection, _cursor: Any, sql: str, values: Any, _context: Any, many: bool
    ) -> tuple[str, Any]:
        if self.count >= self.times or many or self.part not in sql:
            return sql, values
        self.count += 1
        return raising(self.sqlstate), {}


@contextmanager
def injected(sqlstate: str, part: str = "", *, times: float = inf) -> Iterator[Injection]:
    """Have PostgreSQL refuse the next `times` statements that contain a text, until the end of the block."""
    injection = Injection(sqlstate, part, times)
    event.listen(Engine, "before_cursor_execute", injection.replace, retval=True)
    try:
        yield injection
    finally:
        event.remove(Engine, "before_cursor_execute", injection.replace)


@contextmanager
def refused_by_sqlite(code: int, words: str, part: str) -> Iterator[None]:
    """Have SQLite's driver refuse the statements that contain a text, until the end of the block."""

    def refuse(_cursor: Any, sql: str, _values: Any, _context: Any) -> None:
        if part in sql:
            error = sqlite3.OperationalError(words)
            error.sqlite_errorcode = code
            raise error

    event.listen(Engine, "do_execute", refuse)
    event.listen(Engine, "do_executemany", refuse)
    try:
        yield
    finally:
        event.remove(Engine, "do_execute", refuse)
        event.remove(Engine, "do_executemany", refuse)
