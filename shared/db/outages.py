"""Which errors of a database are an outage: the same transaction may succeed a moment later.

An outage is about the server: it stops, starts, fails over, is full, busy or read-only. An error about the
statement or its values (a constraint, a type, a missing table) is none: each repetition would meet it.
"""

import sqlite3

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

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
