"""The migrations make the tables that the code describes, whoever runs them and how often."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.schema import CreateSchema

from shared.db.engine import Database
from shared.db.tables import Base, Job
from tests.support.factories import submitted
from tests.support.servers import PostgresServer

_MIGRATES_WHEN_TOLD = """
import sys
from shared.db.engine import Database
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
database.migrate()
"""


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/empty.db"


@pytest.fixture
def empty_postgresql_url(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"empty_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database without any table; the test runs once for each kind."""
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.dispose()


def _downgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.downgrade(config, "base")


def _differences(database: Database) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
    with database.engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def _described(engine: Engine, schema: str | None = None) -> dict[str, Any]:
    """All that the database knows of each table, in an order of its own and without the schema's name."""
    inspector = inspect(engine)
    looks = (
        inspector.get_columns,
        inspector.get_pk_constraint,
        inspector.get_foreign_keys,
        inspector.get_unique_constraints,
        inspector.get_check_constraints,
        inspector.get_indexes,
    )
    return {
        f"{table}: {look.__name__}": _plain(look(table, schema=schema))
        for table in Base.metadata.tables
        for look in looks
    }


def _plain(found: Any) -> list[str]:
    rows = found if isinstance(found, list) else [found]
    named = [{key: value for key, value in row.items() if key != "referred_schema"} for row in rows]
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in named)


def _as_the_tables_say(database: Database, tmp_path: Path) -> dict[str, Any]:
    """What a database looks like that was made from the tables, without migrations."""
    if database.engine.dialect.name == "sqlite":
        other = Database(f"sqlite:///{tmp_path}/by_tables.db")
        Base.metadata.create_all(other.engine)
        described = _described(other.engine)
        other.dispose()
        return described
    with database.engine.begin() as connection:
        connection.execute(CreateSchema("by_tables"))
    Base.metadata.create_all(database.engine.execution_options(schema_translate_map={None: "by_tables"}))
    return _described(database.engine, "by_tables")


def test_the_migrations_make_the_tables_that_the_code_describes(empty: Database, tmp_path: Path) -> None:
    empty.migrate()
    assert _differences(empty) == []
    # alembic compares no CHECK and no index's condition
    assert _described(empty.engine) == _as_the_tables_say(empty, tmp_path)


def test_a_database_is_migrated_once_it_has_been(empty: Database) -> None:
    assert not empty.is_migrated()
    empty.migrate()
    assert empty.is_migrated()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    job_id = submitted(database)
    before = _described(database.engine)
    database.migrate()
    assert database.is_migrated()
    assert _described(database.engine) == before
    assert database.read(lambda session: session.scalars(select(Job.id)).all()) == [job_id]


def test_two_processes_may_migrate_at_once(empty: Database, empty_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MIGRATES_WHEN_TOLD, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert empty.is_migrated()
    assert _differences(empty) == []


def test_a_downgrade_leaves_nothing_and_can_be_undone(empty: Database) -> None:
    empty.migrate()
    before = _described(empty.engine)
    with empty.engine.begin() as connection:
        _downgrade(connection)
        assert inspect(connection).get_table_names() == ["alembic_version"]
        if connection.dialect.name == "postgresql":
            functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            assert connection.scalar(text(functions)) == 0
    empty.migrate()
    assert _described(empty.engine) == before
    assert submitted(empty)


def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    with empty.engine.begin() as connection:
        connection.execute(text("CREATE TABLE workers (id INTEGER)"))  # in the way of the third table
    with pytest.raises(Exception, match="already exists"):
        empty.migrate()
    assert inspect(empty.engine).get_table_names() == ["workers"]
    assert not empty.is_migrated()


def test_the_migrations_are_one_chain() -> None:
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert len(script.get_heads()) == len(script.get_bases()) == 1
