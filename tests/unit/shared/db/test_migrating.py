"""A database that others use is migrated without stopping them, and whoever is waited for is named."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection, event, make_url

from shared.db import migrating
from shared.db.engine import Database
from shared.db.migrating import MigrationBlocked
from tests.support.databases import migrate, open_database
from tests.support.later_migrations import adds_column, later_migrations
from tests.support.servers import PostgresServer
from tests.support.waiting import wait_until

RELEASED = migrating.CODE_VERSION


@pytest.fixture
def outdated_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database with this code's schema."""
    name = f"outdated_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    yield migrate(postgres_server.url(name))
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def outdated(outdated_url: str, tmp_path: Path) -> Iterator[Database]:
    """That database, open, and two later versions of the schema."""
    with (
        open_database(outdated_url) as database,
        later_migrations(tmp_path, adds_column("webhooks"), adds_column("jobs")),
    ):
        yield database


@contextmanager
def session(url: str, name: str, statement: str = "") -> Iterator[psycopg.Connection[Any]]:
    """A transaction of another program that has executed a statement, and is ended with the block."""
    parts = make_url(url)
    with psycopg.connect(
        host=str(parts.query["host"]), user=parts.username, dbname=parts.database, application_name=name
    ) as connection:
        if statement:
            connection.execute(statement.encode())
        yield connection
        connection.rollback()


def version(database: Database) -> str:
    with database.engine.connect() as connection:
        return migrating.schema_version(connection)


def test_others_go_on_while_a_migration_waits_for_a_reader_whom_it_names(
    outdated: Database, outdated_url: str
) -> None:
    reports: list[str] = []
    with ThreadPoolExecutor(1) as thread, session(outdated_url, "api") as other:
        with session(outdated_url, "pg_dump", "LOCK TABLE jobs IN ACCESS SHARE MODE") as reader:
            migrated = thread.submit(outdated.migrate, reports.append)
            wait_until(lambda: reports or migrated.done(), "the reader is named")
            # a queue of lock waiters would last as long as the reader, which ends after this
            other.execute("SET lock_timeout = '10s'")
            other.execute("SELECT count(*) FROM jobs")
            other.rollback()
            assert not migrated.done()
            pid = reader.info.backend_pid
        assert migrated.result(30) == migrating.CODE_VERSION
    assert f"pid {pid} (pg_dump, transaction open for " in reports[0]
    assert f"SELECT pg_terminate_backend({pid})" in reports[0]
    assert not outdated.missing_step()


def test_a_migration_that_gets_no_lock_gives_up_and_keeps_the_versions_before_it(
    outdated: Database, outdated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "PATIENCE_S", 1.0)
    with (
        session(outdated_url, "pg_dump", "LOCK TABLE jobs IN ACCESS SHARE MODE"),
        pytest.raises(
            MigrationBlocked, match=r"migration 9002 had no lock within 1 s, because of pid .*pg_dump"
        ),
    ):
        outdated.migrate()
    assert version(outdated) == "9001"
    outdated.migrate()
    assert not outdated.missing_step()


def test_a_migration_that_another_process_runs_is_waited_for_and_not_for_ever(
    outdated: Database, outdated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "PATIENCE_S", 0.3)
    with (
        session(outdated_url, "trainshed", f"SELECT pg_advisory_xact_lock({migrating._TURN})"),
        pytest.raises(MigrationBlocked, match="another process"),
    ):
        outdated.migrate()
    assert version(outdated) == RELEASED


def test_a_migration_that_fails_is_not_repeated(outdated: Database, outdated_url: str) -> None:
    with session(outdated_url, "psql", "ALTER TABLE jobs ADD COLUMN note text") as other:
        other.commit()
    with pytest.raises(Exception, match='"note" of relation "jobs" already exists'):
        outdated.migrate(lambda _: pytest.fail("nobody is waited for"))
    assert version(outdated) == "9001"


@pytest.mark.parametrize(("is_new", "lock_timeout"), [(True, "0"), (False, "1500ms")])
def test_migrations_may_take_long_but_wait_for_no_lock(
    outdated: Database, postgres_server: PostgresServer, is_new: bool, lock_timeout: str
) -> None:
    limits = set()

    def look(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if "alembic_version SET" in statement:
            names = ("transaction_timeout", "lock_timeout")
            limits.add(tuple(connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names))

    name = f"new_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    with open_database(postgres_server.url(name)) as new:
        database = new if is_new else outdated
        event.listen(database.engine, "before_cursor_execute", look)
        database.migrate()
    assert limits == {("0", lock_timeout)}
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
