"""The rows of 0.1.0 are moved into the tables of 0.2.0, whatever interrupts that, and while nobody looks."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest
from sqlalchemy import inspect, make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError

from shared.db import floor, moving
from shared.db.engine import Database
from shared.db.moving import DatabaseInUse, RowsMissing
from tests.support import old_rows
from tests.support.databases import open_database, trigger_definitions
from tests.support.moved_rows import check

Progress = list[tuple[str, int, int]]


@pytest.fixture
def old(old_url: str) -> Iterator[Database]:
    """That database, open."""
    with open_database(old_url) as database:
        yield database


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_BATCH", 4)


@pytest.mark.usefixtures("small_batches")
def test_all_rows_are_there_afterwards(old: Database) -> None:
    before, progress = old_rows.contents(old.engine), Progress()
    old.migrate(progress=lambda *told: progress.append(told))
    check(before, old_rows.contents(old.engine))
    assert not old.missing_step()
    with old.engine.connect() as connection:
        assert [*trigger_definitions(connection)] == ["jobs_ended", "jobs_finished", "jobs_transition"]
        for table, column in (("jobs", "last_values"), ("webhook_deliveries", "last_values")):
            null = f"SELECT count(*) FROM {table} WHERE CAST({column} AS TEXT) = 'null'"
            assert connection.scalar(text(null)) == 0  # which SQL takes for a value
    jobs = [done for subject, done, total in progress if (subject, total) == ("jobs", old_rows.JOBS)]
    assert jobs == [*range(0, old_rows.JOBS, 4), old_rows.JOBS]
    assert progress[-1][1] == progress[-1][2]


def test_while_it_is_under_way_older_versions_are_refused_and_nobody_finds_a_table(
    old: Database,
) -> None:
    def look(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        old.migrate(progress=look)
    assert old.missing_step() == "run `trainshed migrate` again"
    assert old.version_refusal() == ""
    assert not {"jobs", "old_queues", "new_alembic_version"} & set(inspect(old.engine).get_table_names())
    with old.engine.connect() as connection:
        refusal = floor.refusal(connection, own="0.1.0")
    assert refusal == "the database needs Trainshed 0.2.0 or later, and this is 0.1.0: install that"


def test_a_row_that_refers_to_nothing_is_found_while_the_old_tables_are_complete(old: Database) -> None:
    with old.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        is_sqlite = connection.dialect.name == "sqlite"
        driver.execute("PRAGMA foreign_keys = OFF" if is_sqlite else "SET session_replication_role = replica")
        driver.execute("DELETE FROM evaluations WHERE job_id = (SELECT job_id FROM class_results LIMIT 1)")
        driver.commit()
        connection.invalidate()
    before = old_rows.contents(old.engine)
    for _ in range(2):
        with pytest.raises((RowsMissing, IntegrityError), match="class_results"):
            old.migrate()
    after = old_rows.contents(old.engine)
    assert after["old_class_results"] == before["class_results"]
    assert after["new_class_results"] == before["class_results"]


def test_sqlite_is_refused_while_others_have_it_open(old_sqlite_url: str) -> None:
    old_rows.create(old_sqlite_url)
    with open_database(old_sqlite_url) as database, open_database(old_sqlite_url) as other:
        with other.read_engine.connect() as connection:
            connection.execute(text("SELECT count(*) FROM jobs"))
        before = old_rows.contents(database.engine)
        with pytest.raises(
            DatabaseInUse, match="migration 0028 needs it for itself, but others use it: stop "
        ):
            database.migrate()
        assert old_rows.contents(database.engine) == before
        other.dispose()
        database.migrate()
        assert not database.missing_step()


def test_sqlite_is_nobody_elses_while_rows_are_moved(old_sqlite_url: str) -> None:
    old_rows.create(old_sqlite_url)
    refused = []

    def look(_subject: str, done: int, total: int) -> None:
        if 0 < done < total and done % 5:  # a look takes a second
            return
        with (
            open_database(old_sqlite_url, patience_s=0) as other,
            pytest.raises(OperationalError, match="locked"),
        ):
            other.missing_step()
        refused.append(True)

    with open_database(old_sqlite_url) as database:
        database.migrate(progress=look)
    assert refused


@pytest.mark.parametrize(
    ("name", "active_s", "users"),
    [
        ("trainshed-api", 15.0, "trainshed-api"),
        ("", 15.0, "unnamed"),
        ("trainshed-worker", 0.0, ""),  # PgBouncer's, whose client is gone
        ("psql", 15.0, ""),
    ],
)
def test_on_postgresql_programs_that_use_it_are_named(
    old_postgresql_url: str, monkeypatch: pytest.MonkeyPatch, name: str, active_s: float, users: str
) -> None:
    monkeypatch.setattr(moving, "_ACTIVE_S", active_s)
    parts = make_url(old_rows.create(old_postgresql_url))
    with (
        psycopg.connect(
            host=str(parts.query["host"]), user=parts.username, dbname=parts.database, application_name=name
        ) as other,
        open_database(old_postgresql_url) as database,
    ):
        other.execute("SELECT 1")
        other.commit()
        named = (
            f"but pid {other.info.backend_pid} ({users}) use it: stop `trainshed up`, the API and the workers"
        )
        with pytest.raises(DatabaseInUse, match=re.escape(named)) if users else nullcontext():
            database.migrate()
        assert bool(database.missing_step()) == bool(users)
