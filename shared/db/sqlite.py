"""Connections to SQLite: durable, with one writer at a time."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from shared.db.json_merge import SQLITE_FUNCTION, merge_json

BUSY_S = 1.0
"""How long SQLite waits for another writer; then the transaction is retried while the patience lasts."""


def create(url: str | URL, *, reads: bool) -> Engine:
    """Return an engine whose connections read, or write.

    They are not the same ones: after a PRAGMA that changes what its transactions may do, a connection
    compiles each of its statements again, which takes longer than most statements do.
    """
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    options = {"read_only": True} if reads else {}
    engine = create_engine(url, connect_args={"timeout": BUSY_S}, execution_options=options)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: ConnectionPoolEntry) -> None:
        # the driver must not begin transactions itself: see _begin
        connection.isolation_level = None
        connection.create_function(SQLITE_FUNCTION, 2, merge_json, deterministic=True)
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut, not only a kill
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA query_only = {reads:d}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a transaction that reads first and writes later fails at once, regardless of the timeout, if another
        # one wrote in between; so write transactions take the lock at their start
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def create_exclusive(url: URL) -> Engine:
    """Return an engine that shares the database with nobody from its first transaction on, for a migration.

    It needs to be the only one that has the file open. It checks no foreign keys, and its SQL has a function
    `as_id`, which turns the digits of a UUID into its bytes.
    """
    engine = create(url, reads=False)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: ConnectionPoolEntry) -> None:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.create_function("as_id", 1, _as_id, deterministic=True)

    return engine


def _as_id(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)
