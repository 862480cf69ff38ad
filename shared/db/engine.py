"""The database engine: read and write transactions with retries, and the migrations.

A transaction is a function of a session. It is run again when the connection is lost or another transaction
conflicts with it, so it must be idempotent, as the functions of `shared.store` are.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from math import inf
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    wait_random_exponential,
)

from shared.db import floor
from shared.db.event_positions import RAISE_TO_CLOCK
from shared.db.outages import is_transient, replace_read_only_connections

T = TypeVar("T")

BINARY = "trainshed_binary"
"""Execution option: PostgreSQL sends the rows in binary, which halves the bytes of a blob (no hex digits)."""

# how long SQLite waits for another writer; then the transaction is retried while the patience lasts
_SQLITE_BUSY_S = 1.0
# an unreachable server is noticed within about 10 s instead of TCP's default of hours
_POSTGRESQL_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_POSTGRESQL_SETTINGS = {
    # bounds how long a stopped process can hold row locks, which would block the reconcilers
    "idle_in_transaction_session_timeout": "'10s'",
    # and that of a host that has vanished: within a pipeline, or before it has read an answer, it is not idle
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # starting parallel workers takes longer than they save in short statements
    "max_parallel_workers_per_gather": "0",
    # the indexes of lists and counts are cached in memory, so index scans are cheap
    "random_page_cost": "1.1",
}
# a process may also be stopped within a pipeline: PostgreSQL waits for the rest of it, and is not idle then
_TRANSACTION_LIMIT = {"transaction_timeout": "'20s'"}
_KNOWS_TRANSACTION_LIMIT = 17  # PostgreSQL's version
_MIGRATION_LOCK = 0x7261696E  # an arbitrary advisory lock number

CODE_VERSION = max(
    module.name[:4] for module in files("shared.migrations.versions").iterdir() if module.name[0].isdigit()
)
"""The version of the schema that this code needs: the number of its newest migration, four digits."""


class Database:
    """The database that API and workers share. Thread-safe."""

    def __init__(
        self,
        url: str,
        *,
        patience_s: float = 10.0,
        committed: Callable[[Session], None] | None = None,
        program: str = "trainshed",
    ) -> None:
        """Prepare to connect.

        Args:
            url: an SQLAlchemy URL: SQLite on a local disk, or PostgreSQL.
            patience_s: seconds for which a transaction is retried, at least once, while the database is
                unavailable or busy, before its error is raised.
            committed: called with the session of every write after its commit; must neither fail nor block.
            program: what PostgreSQL calls its connections (`application_name`), unless the URL says.
        """
        if make_url(url).get_backend_name() == "sqlite":
            self.engine = _sqlite_engine(url, reads=False)
            self.read_engine = _sqlite_engine(url, reads=True)
        else:
            self.engine = _postgresql_engine(url, program)
            self.read_engine = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True, read_only=True
            )
        replace_read_only_connections(self.engine)
        self._patience_s = patience_s
        self._give_up_at = inf
        self._refusal = ""
        self._write_lock = Lock()
        self._committed = committed
        self._writers = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(self.read_engine, expire_on_commit=False)

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction of its own and commit it.

        It is run again as a whole after a transient error, also when the connection was lost during the
        commit, whose outcome is then unknown.
        """
        return self._run(self._writers, work)

    def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a read-only transaction that sees one snapshot of the database."""
        return self._run(self._readers, work)

    def hurry(self, within_s: float) -> None:
        """Retry nothing after `within_s` seconds from now, nor what is being retried already: for a stop."""
        self._give_up_at = monotonic() + within_s

    def _run(self, sessions: sessionmaker[Session], work: Callable[[Session], T]) -> T:
        if self._refusal:
            raise floor.VersionOutdated(self._refusal)

        def once() -> T:
            writes = sessions is self._writers
            with self._turn_to_write() if writes else nullcontext(), sessions.begin() as session:
                result = work(session)
            if self._committed is not None and writes:
                self._committed(session)
            return result

        return self._patiently(once)

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """Wait while another thread of this process writes to SQLite, for as long as SQLite would.

        SQLite lets writers poll for its lock, so that with several threads some wait for a second.
        """
        is_sqlite = self.engine.dialect.name == "sqlite"
        acquired = is_sqlite and self._write_lock.acquire(timeout=_SQLITE_BUSY_S)
        try:
            yield
        finally:
            if acquired:
                self._write_lock.release()

    def _patiently(self, once: Callable[[], T]) -> T:
        return Retrying(
            retry=retry_if_exception(lambda error: is_transient(error) and monotonic() < self._give_up_at),
            # at least one retry: an idle connection may have been closed unnoticed
            stop=stop_all(stop_after_attempt(2), stop_after_delay(self._patience_s)),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            reraise=True,
        )(once)

    def migrate(self) -> str:
        """Upgrade the schema to this code's version, unless it is a newer one; return its version then.

        A newer schema is left as it is: it only has more. Safe to call from several processes
        at once.

        Raises:
            VersionOutdated: the database needs a newer version of Trainshed.
        """
        return self._patiently(self._migrate)

    def _migrate(self) -> str:
        # imported here: it takes a tenth of the start of an API or a worker, which do not need it
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "shared:migrations")
        config.set_main_option("path_separator", "os")
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                lift_time_limit(connection)
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            if refusal := floor.refusal(connection):
                raise floor.VersionOutdated(refusal)
            version = _schema_version(connection)
            if version <= CODE_VERSION:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            if connection.dialect.name == "postgresql":
                _keep_settings(connection)
                connection.exec_driver_sql(RAISE_TO_CLOCK)
        return max(version, CODE_VERSION)

    def is_migrated(self) -> bool:
        """Return whether the schema has what this code needs: its version, or a newer one."""
        with self.read_engine.connect() as connection:
            return _schema_version(connection) >= CODE_VERSION

    def version_refusal(self) -> str:
        """Return why this version of Trainshed must not use the database, and what to do; empty if it may."""
        with self.read_engine.connect() as connection:
            return floor.refusal(connection)

    def refuse(self, reason: str) -> None:
        """Refuse every later transaction with `VersionOutdated` for this reason; empty: refuse none."""
        self._refusal = reason

    def dispose(self) -> None:
        """Close every connection; one that a thread still uses is closed when it is returned."""
        for engine in (self.engine, self.read_engine):
            event.listen(engine, "checkin", _close)
            engine.dispose()


def lift_time_limit(connection: Connection) -> None:
    """Let the connection's transaction take as long as it needs; others are ended after 20 s."""
    if _postgresql_version(connection) >= _KNOWS_TRANSACTION_LIMIT:
        connection.exec_driver_sql("SET LOCAL transaction_timeout = 0")


def _postgresql_version(connection: Connection) -> int:
    """Return the major version of PostgreSQL; 0 of another database."""
    dialect = connection.dialect
    return int((dialect.server_version_info or (0,))[0]) if dialect.name == "postgresql" else 0


def _schema_version(connection: Connection) -> str:
    """Return the number of the last migration that the schema has; empty if it has none."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def _close(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.close()


def _keep_settings(connection: Connection) -> None:
    """Make the settings of our connections this role's defaults in this database.

    Behind PgBouncer in transaction mode a client's connection is not always the same one of the server's, so
    what it sets when it connects holds for some transactions only, or for none.
    """
    database = connection.dialect.identifier_preparer.quote(connection.engine.url.database or "")
    for name, value in _settings_of(_postgresql_version(connection)).items():
        connection.exec_driver_sql(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} = {value}")


def _settings_of(version: int) -> Mapping[str, str]:
    """Return the settings of connections to PostgreSQL of a major version."""
    return _POSTGRESQL_SETTINGS | (_TRANSACTION_LIMIT if version >= _KNOWS_TRANSACTION_LIMIT else {})


def _postgresql_engine(url: str, program: str) -> Engine:
    options = {**_POSTGRESQL_OPTIONS, "fallback_application_name": program}
    engine = create_engine(url, connect_args=options)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: ConnectionPoolEntry) -> None:
        try:
            settings = _settings_of(connection.info.server_version // 10_000).items()
            connection.execute("; ".join(f"SET {name} = {value}" for name, value in settings))
            connection.commit()
        except psycopg.Error:
            connection.close()  # the pool does not know it yet
            raise

    @event.listens_for(engine, "checkin")
    def _leave_the_mode_to_the_server(connection: Any, _record: ConnectionPoolEntry) -> None:
        # SQLAlchemy has left False, so that BEGIN READ WRITE would overrule a server that is to be read-only,
        # and fail on a standby with another error than a write does
        if connection is not None and connection.read_only is not None:
            connection.read_only = None

    @event.listens_for(engine, "before_cursor_execute")
    def _choose_format(
        _connection: Connection, cursor: Any, _sql: str, _values: Any, context: Any, _many: bool
    ) -> None:
        if context.execution_options.get(BINARY):
            cursor.format = psycopg.pq.Format.BINARY

    return engine


def _sqlite_engine(url: str, *, reads: bool) -> Engine:
    """Return an engine whose connections read, or write.

    They are not the same ones: after a PRAGMA that changes what its transactions may do, a connection
    compiles each of its statements again, which takes longer than most statements do.
    """
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    options = {"read_only": True} if reads else {}
    engine = create_engine(url, connect_args={"timeout": _SQLITE_BUSY_S}, execution_options=options)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: ConnectionPoolEntry) -> None:
        # the driver must not begin transactions itself: see _begin
        connection.isolation_level = None
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
