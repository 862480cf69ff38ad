"""Which errors of a database are an outage: the same transaction may succeed a moment later.

An outage is about the server: it stops, starts, fails over, is full, busy or read-only. An error about the
statement or its values (a constraint, a type, a missing table) is none: each repetition would meet it.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from math import inf
from threading import Lock
from time import monotonic
from typing import NamedTuple

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared import log

# SQLSTATEs, or the classes that they begin with
_TRANSIENT_SQLSTATES = (
    "08",  # the connection failed
    "25P03",  # idle in the transaction for too long
    "25P04",  # the transaction took too long
    "40",  # a conflict with another transaction, a deadlock
    "53",  # too few resources: connections, memory, disk
    "55P03",  # a lock was not available in time
    "57014",  # cancelled by a time limit or an administrator
    "57P",  # shutdown, crash, startup, an idle session that was ended
    "58000",  # an error of the operating system
    "58030",  # an I/O error
)
# of those, errors of one transaction: another one may succeed meanwhile
_SQLSTATES_OF_A_TRANSACTION = ("25P04", "40", "55P03", "57014")
_TRANSIENT_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_READ_ONLY_SQLSTATE = "25006"

_log = log.get_logger(__name__)
_LATELY_S = 60.0
_WAIT_S = 5.0  # longer than any request waits
_LOG_S = 10.0
_MAX_WORDS = 200  # characters of a driver's message


class Reason(StrEnum):
    """Why a database cannot be used."""

    FULL = "full"
    CONNECTIONS = "connections"
    LOCKED = "locked"
    UNAVAILABLE = "unavailable"


MEANINGS: Mapping[Reason, str] = {
    Reason.FULL: "the disk of the database is full: free space on it, or enlarge it",
    Reason.CONNECTIONS: "all connections to the database are used: increase `max_connections`, or run fewer "
    "processes",
    Reason.LOCKED: "other transactions hold up the database: `pg_stat_activity` shows the oldest",
    Reason.UNAVAILABLE: "the database is unavailable: start it, or correct TRAINSHED_DATABASE_URL",
}
"""For each reason what is wrong, and after the colon what its operator does."""

# SQLSTATEs, or the classes that they begin with
_REASONS = {"53100": Reason.FULL, "533": Reason.CONNECTIONS, "55P03": Reason.LOCKED, "57014": Reason.LOCKED}
_REASONS |= {"40": Reason.LOCKED, "25P04": Reason.LOCKED}
_SQLITE_REASONS = {
    sqlite3.SQLITE_FULL: Reason.FULL,
    sqlite3.SQLITE_BUSY: Reason.LOCKED,
    sqlite3.SQLITE_LOCKED: Reason.LOCKED,
}
# of an attempt to connect, which psycopg raises without the SQLSTATE: PostgreSQL's words, and PgBouncer's
_NO_CONNECTION = (
    "too many clients",
    "remaining connection slots",
    "too many connections",
    "no more connections",
)
_POOL_IS_EMPTY = "3o7r"  # SQLAlchemy's code


class Met(NamedTuple):
    """An error that made a transaction fail.

    Attributes:
        words: the server's, or the driver's.
        at: when, by `monotonic`.
    """

    reason: Reason
    sqlstate: str
    words: str
    at: float


class Outages:
    """What the transactions of a process have met, how often, and why requests failed lately. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last: Met | None = None
        self._explained: Met | None = None
        self._logged: dict[Reason, float] = {}
        self._counts: Counter[Reason] = Counter()

    def note(self, error: BaseException) -> None:
        """Note an error that ended a transaction, if it is one of an outage."""
        if not is_unavailable(error):
            return
        met = _met(error)
        with self._lock:
            self._counts[met.reason] += 1
            self._last = met

    def explain(self, error: BaseException) -> Reason:
        """Return why a request failed: if it gave up a wait, for the reason that transactions met meanwhile.

        It is logged with the server's words: at once, and then each 10 s.
        """
        met, now = _met(error), monotonic()
        with self._lock:
            if isinstance(error, PoolTimeout) and self._last and now - self._last.at < _WAIT_S:
                met = self._last
            self._explained = met._replace(at=now)
            is_due = now - self._logged.get(met.reason, -inf) >= _LOG_S
            if is_due:
                self._logged[met.reason] = now
        if is_due:
            said = {"reason": str(met.reason), "sqlstate": met.sqlstate, "error": met.words}
            _log.warning("requests fail: the database cannot be used", **said)
        return met.reason

    def lately(self) -> Reason | None:
        """Return why a request failed in the last minute; None if none did."""
        met = self._explained
        return met.reason if met is not None and monotonic() - met.at < _LATELY_S else None

    @property
    def counts(self) -> Mapping[Reason, int]:
        """How many transactions failed, those that were run again included."""
        return self._counts


def _met(error: BaseException) -> Met:
    cause = error.orig if isinstance(error, DBAPIError) else error
    sqlstate = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    return Met(reason_of(error), sqlstate or "", str(cause).partition("\n")[0][:_MAX_WORDS], monotonic())


def is_transient(error: BaseException) -> bool:
    """Return whether the same transaction may succeed if it is run again."""
    if not isinstance(error, DBAPIError):
        return False
    cause = error.orig
    if error.connection_invalidated:
        return True
    if isinstance(cause, sqlite3.Error):
        return _sqlite_code(cause) in _TRANSIENT_SQLITE_CODES
    if isinstance(cause, psycopg.Error) and cause.sqlstate is not None:
        return cause.sqlstate.startswith(_TRANSIENT_SQLSTATES)
    # psycopg has no SQLSTATE if it never reached the server
    return isinstance(cause, psycopg.OperationalError)


def is_unavailable(error: BaseException) -> bool:
    """Return whether the database could not be used: in an outage, or because all connections were in use."""
    return is_transient(error) or isinstance(error, PoolTimeout)


def concerns_one_transaction(error: BaseException) -> bool:
    """Return whether an outage on PostgreSQL concerns one transaction, and not the server."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    sqlstate = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    return (sqlstate or "").startswith(_SQLSTATES_OF_A_TRANSACTION)


def reason_of(error: BaseException) -> Reason:
    """Return which outage an error that `is_unavailable` is about."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _SQLITE_REASONS.get(_sqlite_code(cause) or 0, Reason.UNAVAILABLE)
    if isinstance(cause, psycopg.Error) and cause.sqlstate is not None:
        states = (reason for state, reason in _REASONS.items() if str(cause.sqlstate).startswith(state))
        return next(states, Reason.UNAVAILABLE)
    is_empty = isinstance(error, PoolTimeout) and error.code == _POOL_IS_EMPTY
    if is_empty or any(words in str(cause) for words in _NO_CONNECTION):
        return Reason.CONNECTIONS
    return Reason.UNAVAILABLE


def replace_read_only_connections(engine: Engine) -> None:
    """Have a pool's connections replaced when a write meets a read-only database: its error is transient.

    After a failover they may still lead to the former primary. A write in a transaction that only reads is a
    defect, and stays an error.
    """

    @event.listens_for(engine, "handle_error")
    def _note(context: ExceptionContext) -> None:
        connection = context.connection
        if not _is_read_only(context.original_exception) or _only_reads(connection):
            return
        if connection is not None and connection.dialect.name == "sqlite":
            # a closed connection keeps its lock for as long as the error refers to its cursor
            connection.connection.rollback()
        context.is_disconnect = True


def _is_read_only(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return _sqlite_code(error) == sqlite3.SQLITE_READONLY
    return isinstance(error, psycopg.Error) and error.sqlstate == _READ_ONLY_SQLSTATE


def _only_reads(connection: Connection | None) -> bool:
    # `Database` sets the option; there is no connection while one is made
    return connection is not None and bool(connection.get_execution_options().get("read_only"))


def _sqlite_code(error: sqlite3.Error) -> int | None:
    """Return the primary code, without what an extended one adds; None if the error is not SQLite's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
