"""The migrations create the tables that `shared.db.tables` defines, also when they run repeatedly."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Connection, Engine, Uuid, column, insert, inspect, select, table, text
from sqlalchemy.schema import CreateSchema

from shared.db.engine import Database
from shared.db.floor import VersionOutdated
from shared.db.migrating import CODE_VERSION
from shared.db.tables import Base, Job, JobEvent, UtcDateTime
from shared.lifecycle import EventType
from shared.schemas import Priority, Scope
from shared.store import api_keys
from tests.support.databases import newer_schema, open_database, raised_floor
from tests.support.queue_driver import submit

_MIGRATION_ON_SIGNAL = """
import sys
from shared.db.engine import Database
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
database.migrate()
"""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _differences(database: Database) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
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


def test_the_migrations_create_the_tables_that_the_code_defines(empty: Database, tmp_path: Path) -> None:
    empty.migrate()
    assert _differences(empty) == []
    # alembic compares no CHECK and no index's condition
    assert _described(empty.engine) == _described_by_the_tables(empty, tmp_path)


def test_is_migrated_is_true_only_after_the_migrations(empty: Database) -> None:
    assert not empty.is_migrated()
    empty.migrate()
    assert empty.is_migrated()


def test_the_schema_of_a_newer_version_serves_this_one_and_is_left_as_it_is(empty: Database) -> None:
    assert empty.migrate() == CODE_VERSION
    with newer_schema(empty) as newer:
        before = _described(empty.engine)

        assert empty.is_migrated()
        assert empty.migrate() == newer
        assert _described(empty.engine) == before
        assert submit(empty)


def test_a_database_that_needs_a_newer_version_is_left_as_it_is(empty: Database) -> None:
    with empty.engine.begin() as connection:
        command.upgrade(_config(connection), "0021")
    before = _described(empty.engine)
    with raised_floor(empty), pytest.raises(VersionOutdated, match="needs Trainshed 99"):
        empty.migrate()
    assert _described(empty.engine) == before
    empty.migrate()
    assert empty.is_migrated()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    job_id = submit(database)
    before = _described(database.engine)
    database.migrate()
    assert database.is_migrated()
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
    assert empty.is_migrated()
    assert _differences(empty) == []


def test_a_downgrade_removes_everything_and_can_be_reversed(empty: Database) -> None:
    empty.migrate()
    before = _described(empty.engine)
    with empty.engine.begin() as connection:
        command.downgrade(_config(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
        if connection.dialect.name == "postgresql":
            functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            assert connection.scalar(text(functions)) == 0
    empty.migrate()
    assert _described(empty.engine) == before
    assert submit(empty)


def test_a_failed_migration_is_rolled_back(empty: Database) -> None:
    with empty.engine.begin() as connection:
        connection.execute(text("CREATE TABLE workers (id INTEGER)"))  # in the way of the third table
    with pytest.raises(Exception, match="already exists"):
        empty.migrate()
    assert inspect(empty.engine).get_table_names() == ["workers"]
    assert not empty.is_migrated()


def test_the_migrations_form_a_single_chain() -> None:
    script = ScriptDirectory.from_config(_config())
    assert len(script.get_heads()) == len(script.get_bases()) == 1


def test_migration_0008_keeps_the_scope_of_api_keys(empty: Database) -> None:
    key_id = uuid4()
    keys = table(
        "api_keys",
        column("id", Uuid()),
        column("name"),
        column("sha256"),
        column("created_at", UtcDateTime()),
        column("scopes", JSON()),
        column("scope"),
    )
    key = {"id": key_id, "name": "Ada", "sha256": "0" * 64, "created_at": datetime.now(UTC)}
    with empty.engine.begin() as connection:
        command.upgrade(_config(connection), "0007")
        connection.execute(insert(keys).values(scopes=["submit"], **key))
        command.upgrade(_config(connection), "0008")
        assert connection.execute(select(keys.c.id, keys.c.scope)).all() == [(key_id, "submit")]
        command.downgrade(_config(connection), "0007")
        assert connection.execute(select(keys.c.id, keys.c.scopes)).all() == [(key_id, ["submit"])]
    empty.migrate()
    assert [row.scope for _, row in empty.read(partial(api_keys.page, limit=2))] == ["submit"]


def test_migration_0010_removes_batch_values_from_events(empty: Database) -> None:
    empty.migrate()
    recorded = {"type": EventType.EPOCHS_RECORDED, "at": datetime.now(UTC), "attempt": 1}
    epoch = {"epoch": 0, "loss": 0.5}
    events = [
        {
            **recorded,
            "job_id": job_id,
            "seq": seq,
            "data": {"epochs": [{**epoch, "batch_loss": [0.75, 0.25]}]},
        }
        for job_id in (submit(empty), submit(empty))
        for seq in range(2, 302)  # more than the migration reads at once
    ]
    with empty.engine.begin() as connection:
        command.downgrade(_config(connection), "0009")
        connection.execute(insert(JobEvent), events)
        command.upgrade(_config(connection), "0010")
        stored = connection.scalars(select(JobEvent.data).where(JobEvent.type == recorded["type"])).all()
    assert stored == [{"epochs": [epoch]}] * len(events)


def test_migration_0011_gives_old_jobs_the_places_of_new_ones(empty: Database) -> None:
    empty.migrate()
    head_starts_s = {Priority.HIGH: 3_600, Priority.NORMAL: 0, Priority.LOW: -3_600}
    for priority in head_starts_s:
        submit(empty, priority=priority)
    with empty.engine.begin() as connection:
        command.downgrade(_config(connection), "0010")
        command.upgrade(_config(connection), "0011")
        jobs = connection.execute(select(Job.priority, Job.created_at, Job.place)).all()
    expected = [job.created_at.timestamp() - head_starts_s[job.priority] for job in jobs]
    assert [job.place for job in jobs] == pytest.approx(expected, abs=0.01)


def test_migration_0025_lets_administrators_submit_urgent_jobs(empty: Database) -> None:
    empty.migrate()
    for scope in (Scope.SUBMIT, Scope.ADMIN):
        create = partial(api_keys.create, key=api_keys.NewApiKey.draw(), name=scope, scope=scope)
        empty.write(partial(create, may_urgent=True))
    with empty.engine.begin() as connection:
        command.downgrade(_config(connection), "0023")
        command.upgrade(_config(connection), "0025")
    keys = {key.name: (key.may_urgent, key.team) for _, key in empty.read(partial(api_keys.page, limit=2))}
    assert keys == {"submit": (False, None), "admin": (True, None)}
