"""Connections to PostgreSQL: their options and settings, and how long what they hold can last."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from shared.db.statements import execute_with_next, save_round_trips

BINARY = "trainshed_binary"
"""Execution option: PostgreSQL sends the rows in binary, which halves the bytes of a blob (no hex digits)."""

# an unreachable server is noticed within about 10 s instead of TCP's default of hours
_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_SETTINGS = {
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
_POOL_TIMEOUT_S = 5.0  # where threads share few connections
_KNOWS_TRANSACTION_LIMIT = 17  # PostgreSQL's version
# the sessions of other roles are hidden in pg_stat_activity, but counted here
_LOAD = """
SELECT (SELECT sum(numbackends)::int FROM pg_stat_database),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid())
"""


class Load(NamedTuple):
    """What PostgreSQL says about its sessions.

    Attributes:
        connections: those of all databases.
        max_connections: what is not reserved for superusers.
        oldest_transaction_s: seconds since it began, in this database; of other roles' transactions only if
            this one is a member of `pg_read_all_stats`. 0: there is none.
    """

    connections: int
    max_connections: int
    oldest_transaction_s: float


def load(connection: Connection) -> Load:
    """Return what PostgreSQL says about its sessions."""
    return Load(*connection.exec_driver_sql(_LOAD).one())


def create(url: str, program: str, connections: int | None = None) -> Engine:
    """Return an engine whose connections have the settings, and are named after a program.

    Args:
        connections: how many there are at most; None: SQLAlchemy's defaults.
    """
    options = {**_OPTIONS, "fallback_application_name": program}
    pool: dict[str, Any] = {}
    if connections is not None:
        pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": _POOL_TIMEOUT_S}
    engine = create_engine(url, connect_args=options, **pool)

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

    save_round_trips(engine)
    return engine


def lift_time_limit(connection: Connection) -> None:
    """Let the connection's transaction take as long as it needs; others are ended after 20 s."""
    if _version(connection) >= _KNOWS_TRANSACTION_LIMIT:
        connection.exec_driver_sql("SET LOCAL transaction_timeout = 0")


def bound_transaction(session: Session, *, lock_s: float, idle_s: float, total_s: float) -> None:
    """Have PostgreSQL end the session's transaction earlier than others; sent with its next statement.

    Args:
        lock_s: how long it waits for a lock.
        idle_s: how long it may wait for this process, as while that is stopped.
        total_s: how long it may take (PostgreSQL 17 and later).
    """
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        return
    limits = {"lock_timeout": lock_s, "idle_in_transaction_session_timeout": idle_s}
    if _version(connection) >= _KNOWS_TRANSACTION_LIMIT:
        limits["transaction_timeout"] = total_s
    settings = ", ".join(f"set_config('{name}', '{1_000 * s:.0f}ms', true)" for name, s in limits.items())
    execute_with_next(connection, f"SELECT {settings}", ())


@contextmanager
def unless_locked(session: Session, lock_s: float) -> Iterator[None]:
    """Undo what the block does, and go on after it, if it waits for a lock for longer than `lock_s`.

    Does nothing on other databases.
    """
    if session.get_bind().dialect.name != "postgresql":
        yield
        return
    try:
        with session.begin_nested():
            session.execute(text(f"SET LOCAL lock_timeout = '{1_000 * lock_s:.0f}ms'"))
            yield
    except OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise


def keep_settings(connection: Connection) -> None:
    """Make the settings of our connections this role's defaults in this database.

    Behind PgBouncer in transaction mode a client's connection is not always the same one of the server's, so
    what it sets when it connects holds for some transactions only, or for none.
    """
    database = connection.dialect.identifier_preparer.quote(connection.engine.url.database or "")
    for name, value in _settings_of(_version(connection)).items():
        connection.exec_driver_sql(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} = {value}")


def _settings_of(version: int) -> Mapping[str, str]:
    """Return the settings of connections to PostgreSQL of a major version."""
    return _SETTINGS | (_TRANSACTION_LIMIT if version >= _KNOWS_TRANSACTION_LIMIT else {})


def _version(connection: Connection) -> int:
    """Return the major version of PostgreSQL; 0 of another database."""
    dialect = connection.dialect
    return int((dialect.server_version_info or (0,))[0]) if dialect.name == "postgresql" else 0
