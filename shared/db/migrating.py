"""Migrations of the schema: to the newest version, and on PostgreSQL without stopping those who use it.

A lock on a table waits for every transaction that uses the table, such as `pg_dump`'s, and whoever comes
later waits behind it. So each version has a transaction of its own there, whose locks are waited for briefly:
when that time is over, the version is begun anew after a pause, in which all others go on.
"""

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from importlib.resources import files
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from shared.db import floor, moving, postgresql
from shared.db.event_positions import RAISE_TO_CLOCK
from shared.db.lock_waits import LockWatch
from shared.db.moves import Plan

if TYPE_CHECKING:
    from alembic.config import Config

VERSIONS = sorted(
    module.name[:4] for module in files("shared.migrations.versions").iterdir() if module.name[0].isdigit()
)
"""The versions of the schema from that of release 0.2.0 on: four digits each, the number of a migration."""

CODE_VERSION = VERSIONS[-1]
"""The version of the schema that this code needs."""

PATIENCE_S = 600.0
"""How long a migration tries to get its locks, and waits for another process that migrates."""

# less than a request may take, 2.5 s; more than PostgreSQL's `deadlock_timeout`, 1 s, after which it has an
# automatic VACUUM give way
_LOCK_WAIT_S = 1.5
_MIN_PAUSE_S, _MAX_PAUSE_S = 2.0, 4.0
_TURN_S = 0.2  # between two looks whether another process still migrates
_TURN = 0x7261696E  # an arbitrary advisory lock number
_WAITED = ("55P03", "40P01", "57014")  # no lock in time, a deadlock, cancelled by the watch
_OF_0_1_0 = "0021"
# moves all rows from the tables of 0.1.0 to those of 0.2.0, with which a new database begins
_MOVE = "0028_tables_of_0_2"
_MOVES = _MOVE[:4]
_HALF = "+"  # ends the version of a schema that is being moved
_STEP = "run `trainshed migrate`"
_STEP_AGAIN = f"{_STEP} again"
_STEP_BEFORE = "install 0.1.0 and migrate first"


Report = Callable[[str], object]
"""Is told, each few seconds, for whom a migration waits."""

Begun = Callable[[Connection], None]


class UnknownSchema(SQLAlchemyError):
    """The schema is not one that this code can migrate: that of release 0.1.0 or later."""


class MigrationBlocked(SQLAlchemyError):
    """Others held the locks that a migration needs for all of `PATIENCE_S`; the message names them."""


def schema_version(connection: Connection) -> str:
    """Return the number of the last migration that the schema has; empty if it has none."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def missing_step(version: str) -> str:
    """Return what is to be done before this code can use a schema; empty: nothing, also if it is newer."""
    if version.endswith(_HALF):
        return _STEP_AGAIN
    if version in ("", _OF_0_1_0, *VERSIONS):
        return "" if version == CODE_VERSION else _STEP
    is_newer = version > CODE_VERSION and re.fullmatch(r"\d{4}", version)
    return "" if is_newer else _STEP_BEFORE


def migrate(engine: Engine, report: Report, progress: moving.Progress) -> str:
    """Upgrade the schema to this code's version, unless it is a newer one; return its version then.

    Args:
        progress: is told how far one is that moves rows.

    Raises:
        VersionOutdated: the database needs a newer version of Trainshed.
        UnknownSchema: it is that of a version before 0.1.0, or not one of ours.
        DatabaseInUse: a migration needs the database for itself, and others use it.
        MigrationBlocked: its locks, or those of another process that migrates, could not be had in time. The
            versions before it are there.
    """
    with engine.begin() as connection:
        is_postgresql = connection.dialect.name == "postgresql"
        if is_postgresql:
            postgresql.lift_time_limit(connection)
            _take_turn(connection)
        version = _admitted_version(connection)
        if not version:
            _upgrade_to("head", connection, None)  # in one transaction: nobody uses it yet
        if is_postgresql:
            if version:
                _upgrade(engine, version, report, progress)
            postgresql.keep_settings(connection)
            connection.exec_driver_sql(RAISE_TO_CLOCK)
    if version and not is_postgresql:
        _upgrade(engine, version, report, progress)
    return max(version, CODE_VERSION)


def _take_turn(connection: Connection) -> None:
    """Wait until no other process migrates, by a lock that lasts as long as the transaction does."""
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    give_up_at = monotonic() + PATIENCE_S
    # a statement that waits has a snapshot, and building an index waits for all of these
    take = text("SELECT pg_try_advisory_xact_lock(:lock)")
    while not connection.scalar(take, {"lock": _TURN}):
        if monotonic() >= give_up_at:
            raise MigrationBlocked(f"another process still migrates it after {PATIENCE_S:.0f} s")
        sleep(_TURN_S)


def _admitted_version(connection: Connection) -> str:
    """Return the schema's version, or raise as `migrate` does; holds no lock or snapshot then."""
    with connection.begin_nested() as look:
        refusal, version = floor.refusal(connection), schema_version(connection)
        look.rollback()
    if refusal:
        raise floor.VersionOutdated(refusal)
    if (step := missing_step(version)) == _STEP_BEFORE:
        raise UnknownSchema(f"its schema, version {version}, is not that of 0.1.0 or later: {step}")
    return version


def _upgrade(engine: Engine, version: str, report: Report, progress: moving.Progress) -> None:
    """Upgrade a schema of some version."""
    moves = version < _MOVES
    with moving.alone(engine, _MOVES) if moves else nullcontext(engine) as own:
        if moves:
            _move(own, version, report, progress)
        for pending in VERSIONS:
            if pending > max(version, _MOVES):
                _patiently(own, pending, report, partial(_upgrade_to, pending))


def _upgrade_to(version: str, connection: Connection, begun: Begun | None) -> None:
    from alembic import command  # as below

    command.upgrade(_config(connection, begun=begun), version)


def _move(engine: Engine, version: str, report: Report, progress: moving.Progress) -> None:
    plan: Plan = import_module(f"shared.migrations.versions.{_MOVE}").PLAN

    def transact(work: moving.Work) -> Any:
        return _patiently(engine, _MOVES, report, partial(_in_transaction, work=work))

    move = moving.Moving(plan, engine.dialect.name, transact, progress)
    if version != plan.half:
        move.begin()
    move.go_on(is_newest=_MOVES == CODE_VERSION)


def _in_transaction(connection: Connection, begun: Begun | None, *, work: moving.Work) -> Any:
    with connection.begin():
        if begun is not None:
            begun(connection)
        return work(connection)


def _patiently(
    engine: Engine, version: str, report: Report, work: Callable[[Connection, Begun | None], Any]
) -> Any:
    """Do a part of a migration; on PostgreSQL its locks make nobody else wait for long. Return its result.

    Args:
        work: is called with a connection and with what it calls at the beginning of each transaction, if
            there is anything.
    """
    if engine.dialect.name != "postgresql":
        with engine.connect() as connection:
            return work(connection, None)
    with LockWatch(engine, f"migration {version}", report) as watch:

        def begun(connection: Connection) -> None:
            postgresql.lift_time_limit(connection)
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S * 1_000:.0f}ms'")
            watch.pid = connection.scalar(text("SELECT pg_backend_pid()"))

        def once() -> Any:
            with engine.connect() as connection:
                return work(connection, begun)

        watch.cancel_after(PATIENCE_S)  # what builds an index waits for longer than `lock_timeout`
        try:
            return Retrying(
                retry=retry_if_exception(_has_waited),
                wait=wait_random(_MIN_PAUSE_S, _MAX_PAUSE_S),
                stop=stop_after_delay(PATIENCE_S),
                reraise=True,
            )(once)
        except DBAPIError as error:
            if not _has_waited(error):
                raise
            message = (
                f"migration {version} had no lock within {PATIENCE_S:.0f} s, because of {watch.blockers}"
            )
            raise MigrationBlocked(f"{message}: end that transaction, and run it again") from error


def _has_waited(error: BaseException) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else None
    return isinstance(cause, psycopg.Error) and cause.sqlstate in _WAITED


def _config(connection: Connection, **attributes: object) -> "Config":
    # imported here: it takes a tenth of the start of an API or a worker, which do not need it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, **attributes)
    return config
