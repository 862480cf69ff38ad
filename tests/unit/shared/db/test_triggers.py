"""The triggers of a database are those of the module, which replaces what it finds."""

from hashlib import sha256

import pytest
from sqlalchemy import Connection, text

from shared.db import triggers
from shared.db.engine import Database
from tests.support.databases import trigger_definitions

# a database gets a changed text with the next migration: add one, which may be empty, and then these
_DIGESTS = {
    "sqlite": "b0a7d492f925004c3c82c726677ee0cb933398ebbd19d2bfe8aafd1b8f616184",
    "postgresql": "720c95ee5e7ce3616770bc9138691284b175d61ce1b930a43783640e1e05e574",
}
_STALE = {
    "sqlite": ["CREATE TRIGGER {name} AFTER DELETE ON jobs BEGIN SELECT 1; END"],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER {name} AFTER DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION {name}()",
    ],
}


def _drop_all(connection: Connection) -> None:
    on_table = " ON jobs" if connection.dialect.name == "postgresql" else ""
    for name in trigger_definitions(connection):
        connection.execute(text(f"DROP TRIGGER {name}{on_table}"))
    assert trigger_definitions(connection) == {}


def test_a_migrated_database_has_the_triggers_of_the_module(database: Database) -> None:
    with database.engine.connect() as connection:  # never committed
        migrated = trigger_definitions(connection)
        _drop_all(connection)
        triggers.replace(connection)
        assert trigger_definitions(connection) == migrated
    assert list(migrated) == ["jobs_ended", "jobs_finished", "jobs_transition"]


def test_triggers_of_the_same_names_are_replaced(database: Database) -> None:
    with database.engine.connect() as connection:  # never committed
        migrated = trigger_definitions(connection)
        _drop_all(connection)
        for name in migrated:
            for statement in _STALE[connection.dialect.name]:
                connection.execute(text(statement.format(name=name)))
        assert not trigger_definitions(connection).items() & migrated.items()
        for _ in range(2):
            triggers.replace(connection)
            assert trigger_definitions(connection) == migrated


@pytest.mark.parametrize("dialect", sorted(_DIGESTS))
def test_the_text_has_not_changed_without_a_migration(dialect: str) -> None:
    statements = "; ".join(triggers.statements(dialect))
    assert sha256(statements.encode()).hexdigest() == _DIGESTS[dialect]
