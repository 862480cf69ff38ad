"""The migrations create the tables that `shared.db.tables` defines, and refuse a schema of before 0.1.0."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, inspect, select, text
from sqlalchemy.schema import CreateSchema

from shared.db import migrating
from shared.db.engine import Database
from shared.db.floor import VersionOutdated
from shared.db.migrating import CODE_VERSION, UnknownSchema
from shared.db.tables import Base, Job
from tests.support import old_schema
from tests.support.databases import (
    OTHER_SCHEMAS,
    newer_schema,
    open_database,
    other_schema,
    raised_floor,
    trigger_definitions,
)
from tests.support.later_migrations import adds_column, later_migrations
from tests.support.queue_driver import submit

_MIGRATION_ON_SIGNAL = """
import sys
from shared.db.engine import Database
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
database.migrate()
"""


def _create_old(database: Database) -> None:
    with database.engine.begin() as connection:
        old_schema.create(connection)


def _upgrade(database: Database, version: str) -> None:
    with database.engine.begin() as connection:
        command.upgrade(migrating._config(connection), version)


def _differences(database: Database) -> list[Any]:
    options = {"compare_type": True}  # PostgreSQL compares no JSON: `_described` has the defaults
    with database.engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def _described(engine: Engine, schema: str | None = None) -> dict[str, Any]:
    """Return the database's description of each table, sorted and without the name of the schema."""
    inspector = inspect(engine)
    inspections = (
        inspector.get_columns,
        inspector.get_pk_constraint,
        inspector.get_foreign_keys,
        inspector.get_unique_constraints,
        inspector.get_check_constraints,
        inspector.get_indexes,
    )
    return {
        f"{table}: {inspected.__name__}": _normalized(inspected(table, schema=schema))
        for table in Base.metadata.tables
        if inspector.has_table(table, schema=schema)
        for inspected in inspections
    }


def _everything(engine: Engine) -> tuple[dict[str, Any], dict[str, str], dict[str, list[str]]]:
    """Return the description of each table, the triggers, and all rows."""
    metadata, described = MetaData(), _described(engine)
    metadata.reflect(engine)
    with engine.connect() as connection:
        rows = {
            name: sorted(str(row) for row in connection.execute(select(table)))
            for name, table in metadata.tables.items()
        }
        return described, trigger_definitions(connection), rows


def _normalized(description: Any) -> list[str]:
    rows = description if isinstance(description, list) else [description]
    named = [{key: value for key, value in row.items() if key != "referred_schema"} for row in rows]
    return sorted(_with_sorted_texts(json.dumps(row, sort_keys=True, default=str)) for row in named)


def _with_sorted_texts(description: str) -> str:
    """Sort the SQL texts of a description: the order of the values of `IN` has no meaning."""
    texts = iter(sorted(re.findall(r"'\w+'", description)))
    return re.sub(r"'\w+'", lambda _: next(texts), description)


def _described_by_the_tables(database: Database, tmp_path: Path) -> dict[str, Any]:
    """Return the description of a database that was created from the tables, without migrations."""
    if database.engine.dialect.name == "sqlite":
        with open_database(f"sqlite:///{tmp_path}/by_tables.db") as other:
            Base.metadata.create_all(other.engine)
            return _described(other.engine)
    with database.engine.begin() as connection:
        connection.execute(CreateSchema("by_tables"))
    Base.metadata.create_all(database.engine.execution_options(schema_translate_map={None: "by_tables"}))
    return _described(database.engine, "by_tables")


@pytest.mark.parametrize("is_new", [True, False])
def test_the_migrations_create_the_tables_that_the_code_defines(
    empty: Database, tmp_path: Path, is_new: bool
) -> None:
    if not is_new:
        _create_old(empty)
    empty.migrate()
    assert _differences(empty) == []
    # alembic compares no CHECK and no index's condition
    assert _described(empty.engine) == _described_by_the_tables(empty, tmp_path)


def test_a_step_is_missing_until_the_newest_migration(empty: Database, tmp_path: Path) -> None:
    assert empty.missing_step() == "run `trainshed migrate`"
    with later_migrations(tmp_path, adds_column("jobs"), adds_column("workers")):
        for version in (CODE_VERSION, "9001"):
            _upgrade(empty, version)
            assert empty.missing_step() == "run `trainshed migrate`"
        assert empty.migrate() == "9002"
        assert empty.missing_step() == ""


def test_a_step_is_missing_for_the_schema_of_0_1_0(empty: Database) -> None:
    _create_old(empty)
    assert empty.missing_step() == "run `trainshed migrate`"
    assert empty.migrate() == CODE_VERSION
    assert empty.missing_step() == ""


@pytest.mark.parametrize("version", OTHER_SCHEMAS)
def test_a_schema_of_before_0_1_0_or_of_no_release_is_left_as_it_is(empty: Database, version: str) -> None:
    empty.migrate()
    submit(empty)
    with empty.engine.begin() as connection:
        connection.execute(text("DROP TABLE version_floor"))  # which those before had not
    refusal = f"version {version}, is not that of 0.1.0 or later: install 0.1.0 and migrate first"
    with other_schema(empty, version):
        before = _everything(empty.engine)
        with pytest.raises(UnknownSchema, match=refusal):
            empty.migrate()
        assert empty.missing_step() == "install 0.1.0 and migrate first"
        assert _everything(empty.engine) == before


@pytest.mark.parametrize("is_of_0_1_0", [True, False])
def test_the_newest_migration_brings_the_triggers(empty: Database, tmp_path: Path, is_of_0_1_0: bool) -> None:
    with later_migrations(tmp_path, adds_column("jobs")):
        if is_of_0_1_0:
            _create_old(empty)
        else:
            _upgrade(empty, CODE_VERSION)
        with empty.engine.connect() as connection:
            assert trigger_definitions(connection) == {}
        assert empty.migrate() == "9001"
        with empty.engine.connect() as connection:
            assert list(trigger_definitions(connection)) == ["jobs_ended", "jobs_finished", "jobs_transition"]


def test_the_schema_of_a_newer_version_serves_this_one_and_is_left_as_it_is(empty: Database) -> None:
    assert empty.migrate() == CODE_VERSION
    with newer_schema(empty) as newer:
        before = _described(empty.engine)

        assert not empty.missing_step()
        assert empty.migrate() == newer
        assert _described(empty.engine) == before
        assert submit(empty)


def test_a_database_that_needs_a_newer_version_is_left_as_it_is(empty: Database) -> None:
    _create_old(empty)
    before = _described(empty.engine)
    with raised_floor(empty), pytest.raises(VersionOutdated, match="needs Trainshed 99"):
        empty.migrate()
    assert _described(empty.engine) == before
    empty.migrate()
    assert not empty.missing_step()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    job_id = submit(database)
    before = _described(database.engine)
    database.migrate()
    assert not database.missing_step()
    assert _described(database.engine) == before
    assert database.read(lambda session: session.scalars(select(Job.id)).all()) == [job_id]


@pytest.mark.slow
def test_two_processes_can_migrate_concurrently(empty: Database, empty_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MIGRATION_ON_SIGNAL, empty_url],
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
    assert not empty.missing_step()
    assert _differences(empty) == []


def test_a_failed_migration_is_rolled_back(empty: Database) -> None:
    with empty.engine.begin() as connection:
        connection.execute(text("CREATE TABLE workers (id INTEGER)"))  # in the way of the third table
    with pytest.raises(Exception, match="already exists"):
        empty.migrate()
    assert inspect(empty.engine).get_table_names() == ["workers"]
    assert empty.missing_step()


def test_the_migrations_form_a_single_chain() -> None:
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert len(script.get_heads()) == len(script.get_bases()) == 1
