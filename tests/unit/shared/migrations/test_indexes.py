"""Indexes of filled tables are built while others write: by each migration, also after an interruption."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from shared.db import migrating
from shared.db.engine import Database
from shared.db.migrating import MigrationBlocked
from tests.support.databases import open_database
from tests.support.later_migrations import later_migrations
from tests.support.queue_driver import submit
from tests.support.waiting import wait_until

_INDEX = re.compile(r'CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?"?\w+"? ON "?(\w+)')
_KEY = re.compile(r'ALTER TABLE "?(\w+)"? ADD (?:CONSTRAINT "?\w+"? )?(?:UNIQUE|PRIMARY KEY)')
_TABLE = re.compile(r'CREATE TABLE "?(\w+)')
_CHANGES = ("ALTER", "CREATE", "DROP", "UPDATE", "INSERT", "DELETE", "TRUNCATE")
_CREATED = '("ix_jobs_by_name", "jobs", ["name", "id"])'
_CREATED_TOO = '("ix_jobs_by_kind", "jobs", ["kind"])'


def violations(statements: Sequence[str]) -> list[str]:
    """Return what of a migration stops those who write to a table that was there before it."""
    flat = [" ".join(statement.split()) for statement in statements]
    new = {found[1] for statement in flat if (found := _TABLE.match(statement))}
    indexes = [(statement, found) for statement in flat if (found := _INDEX.match(statement))]
    keys = [(statement, found) for statement in flat if (found := _KEY.match(statement))]
    blocking = [statement for statement, found in indexes if not found[1] and found[2] not in new]
    blocking += [statement for statement, found in keys if found[1] not in new]
    if any(found[1] for _, found in indexes):
        blocking += [
            statement
            for statement in flat
            if statement.startswith(_CHANGES)
            and not re.match(r"(CREATE|DROP) (UNIQUE )?INDEX CONCURRENTLY|UPDATE alembic_version", statement)
        ]
    return blocking


@pytest.mark.parametrize(
    ("statements", "count"),
    [
        (["CREATE INDEX ix ON jobs (name)"], 1),
        (["CREATE UNIQUE INDEX ix ON jobs (name)"], 1),
        (["ALTER TABLE jobs ADD CONSTRAINT uq UNIQUE (name)"], 1),
        (["CREATE INDEX CONCURRENTLY ix ON jobs (name)"], 0),
        (["ALTER TABLE jobs ADD COLUMN note TEXT", "CREATE INDEX CONCURRENTLY ix ON jobs (note)"], 1),
        (["\nCREATE TABLE notes (id INTEGER)", "CREATE INDEX ix ON notes (id)"], 0),
        (["ALTER TABLE jobs ADD COLUMN note TEXT"], 0),
    ],
)
def test_the_rule_tells_what_stops_writers(statements: list[str], count: int) -> None:
    assert len(violations(statements)) == count


def _statements(engine: Engine) -> Iterator[list[str]]:
    """Migrate a database that is in use; yield the statements of each version."""
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    migrating.migrate(engine, lambda _: None, lambda *_: None)
    versions: list[list[str]] = [[]]
    for statement in seen:
        versions[-1].append(statement)
        if statement.startswith("UPDATE alembic_version"):
            versions.append([])
    yield from versions[:-1]


def test_no_migration_stops_those_who_write_and_one_that_would_is_seen(
    empty_postgresql: Database, tmp_path: Path
) -> None:
    first, *later = migrating.VERSIONS
    with empty_postgresql.engine.begin() as connection:
        command.upgrade(migrating._config(connection), first)
    with later_migrations(tmp_path, "op.create_index" + _CREATED, "indexes.create" + _CREATED_TOO):
        *found, stops, does_not = map(violations, _statements(empty_postgresql.engine))
    assert (found, does_not) == ([[]] * len(later), [])
    assert [statement.partition(" (")[0] for statement in stops] == ["CREATE INDEX ix_jobs_by_name ON jobs"]


def _index(database: Database) -> tuple[bool, bool]:
    with database.engine.connect() as connection:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_jobs_by_name'::regclass"
        return bool(connection.scalar(text(valid))), migrating.schema_version(connection) == "9001"


@pytest.fixture
def filled(empty_postgresql: Database, tmp_path: Path) -> Iterator[Database]:
    """A database with two jobs, and a migration that is to create an index."""
    empty_postgresql.migrate()
    for _ in range(2):
        submit(empty_postgresql)
    with later_migrations(tmp_path, "indexes.create" + _CREATED):
        yield empty_postgresql


def test_others_write_while_an_index_is_built(filled: Database, empty_postgresql_url: str) -> None:
    reports: list[str] = []
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"
    )
    with (
        ThreadPoolExecutor(1) as thread,
        open_database(empty_postgresql_url) as other,
        other.read_engine.connect() as reader,
    ):
        reader.execute(text("SELECT count(*) FROM jobs"))  # it keeps its snapshot
        pid = reader.scalar(text("SELECT pg_backend_pid()"))
        built = thread.submit(filled.migrate, reports.append)
        wait_until(
            lambda: built.done() or other.read(lambda session: session.scalar(waits)),
            "the index is being built",
        )
        assert submit(other)
        wait_until(lambda: reports or built.done(), "the reader is named")
        assert not built.done()
        reader.rollback()
        assert built.result(30) == "9001"
    assert f"migration 9001 waits for a lock of pid {pid} " in reports[0]
    assert _index(filled) == (True, True)


def test_an_index_that_was_half_built_is_built_again(filled: Database) -> None:
    broken = "CREATE UNIQUE INDEX CONCURRENTLY ix_jobs_by_name ON jobs (kind)"  # two have the same
    autocommit = filled.engine.execution_options(isolation_level="AUTOCOMMIT")
    with (
        autocommit.connect() as connection,
        pytest.raises(DBAPIError, match="could not create unique index"),
    ):
        connection.exec_driver_sql(broken)
    assert _index(filled) == (False, False)
    filled.migrate()
    assert _index(filled) == (True, True)
    indexes = {index["name"]: index for index in inspect(filled.engine).get_indexes("jobs")}
    assert indexes["ix_jobs_by_name"]["column_names"] == ["name", "id"]
    assert not indexes["ix_jobs_by_name"]["unique"]


def test_an_index_that_is_there_is_left(filled: Database) -> None:
    with filled.engine.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX ix_jobs_by_name ON jobs (name, id)")
    filled.migrate()
    assert _index(filled) == (True, True)


def test_an_index_that_others_hold_up_for_too_long_is_given_up(
    filled: Database, empty_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "PATIENCE_S", 1.0)
    with open_database(empty_postgresql_url) as other:
        with other.read_engine.connect() as reader:
            reader.execute(text("SELECT count(*) FROM jobs"))
            with pytest.raises(MigrationBlocked, match="migration 9001 had no lock"):
                filled.migrate()
        assert other.missing_step()
    filled.migrate()
    assert _index(filled) == (True, True)
