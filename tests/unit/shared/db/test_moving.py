"""The rows of 0.1.0 are moved into the tables of 0.2.0, whatever interrupts that, and while nobody looks."""

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import inspect, make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError

from shared.db import floor, moving
from shared.db.engine import Database
from shared.db.moving import DatabaseInUse, RowsMissing
from shared.db.tables import Base
from tests.support import old_rows
from tests.support.databases import open_database, trigger_definitions
from tests.support.killed_migration import kill_migration
from tests.support.moved_rows import Contents, Row, moved
from tests.support.servers import PostgresServer

JOBS = 23
AGAIN = "run `trainshed migrate` again"
_KILLS = (9, 1, 2, 3, 4, 2, 5, 4, 8, 9)

Progress = list[tuple[str, int, int]]


@pytest.fixture
def old_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/old.db"


@pytest.fixture
def old_postgresql_url(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"old_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(request: pytest.FixtureRequest) -> str:
    """A database with rows in each table of before the move; the test runs once for each kind."""
    return old_rows.create(str(request.getfixturevalue(f"old_{request.param}_url")), JOBS)


@pytest.fixture
def old(old_url: str) -> Iterator[Database]:
    """That database, open."""
    with open_database(old_url) as database:
        yield database


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_BATCH", 4)


def check(before: Contents, after: Contents) -> None:
    """Check that all rows are there, and in queues what stood in two tables."""
    assert all(before.values())
    both, paused = [row["paused_at"] for row in before["paused_queues"]]
    expected = {
        **before,
        **moved(before),
        "queues": [
            {"name": "both", "paused_at": both, "max_running": 2},
            {"name": "limited", "paused_at": None, "max_running": 3},
            {"name": "paused", "paused_at": paused, "max_running": None},
        ],
        "version_floor": [{"id": 1, "version": "0.2.0"}],
        "alembic_version": [{"version_num": "0028"}],
    }
    for name, rows in after.items():
        assert _sorted(rows) == _sorted(expected[name]), name
    assert set(Base.metadata.tables) == after.keys() - {"alembic_version"}


def _sorted(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


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
    jobs = [done for subject, done, total in progress if (subject, total) == ("jobs", JOBS)]
    assert jobs == [*range(0, JOBS, 4), JOBS]
    assert progress[-1][1] == progress[-1][2]


@pytest.mark.slow
def test_a_move_that_is_killed_ten_times_has_the_same_end(old_url: str) -> None:
    with open_database(old_url) as database:
        before = old_rows.contents(database.engine)
    for commits in _KILLS:
        kill_migration(old_url, commits)
        with open_database(old_url) as database:
            assert database.missing_step() == AGAIN
            assert not inspect(database.engine).has_table("jobs")
    with open_database(old_url) as database:
        database.migrate()
        check(before, old_rows.contents(database.engine))
        assert not database.missing_step()


def test_while_it_is_under_way_older_versions_are_refused_and_nobody_finds_a_table(
    old: Database,
) -> None:
    def look(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        old.migrate(progress=look)
    assert old.missing_step() == AGAIN
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
    old_rows.create(old_sqlite_url, JOBS)
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
    old_rows.create(old_sqlite_url, JOBS)
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
    parts = make_url(old_rows.create(old_postgresql_url, JOBS))
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
