"""Databases of tests: opened for the length of a `with` block, or migrated."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, select, text, update

from shared.db.engine import Database
from shared.db.migrating import CODE_VERSION
from shared.db.tables import Base, VersionFloor

TABLES = [table for table in Base.metadata.sorted_tables if table.name != VersionFloor.__tablename__]
"""All tables but that whose row a migration has inserted."""

EMPTYING = [f"DELETE FROM {table.name}" for table in reversed(TABLES)]
"""Statements that delete the rows of these tables."""

OTHER_SCHEMAS = ("0001", "0020", "00210", "0022", "0027", "0026a", "2b9c41d07e15")
"""Versions of the schema before that of 0.1.0, and some that no release has."""


@contextmanager
def open_database(url: str, **options: Any) -> Iterator[Database]:
    """Open the database at a URL, with further options of `Database`; it is closed at the end."""
    database = Database(url, **options)
    try:
        yield database
    finally:
        database.dispose()


def migrate(url: str) -> str:
    """Create the tables of the database at a URL, or update them; returns the URL."""
    with open_database(url) as database:
        database.migrate()
    return url


@contextmanager
def newer_schema(database: Database) -> Iterator[str]:
    """In this block, a migrated database has the schema of a later release; yields its version."""
    with other_schema(database, "9999") as newer:
        yield newer


@contextmanager
def other_schema(database: Database, version: str = "0020") -> Iterator[str]:
    """In this block, a migrated database has this version as that of its schema; yields it."""
    _set_version(database, version)
    try:
        yield version
    finally:
        _set_version(database, CODE_VERSION)


@contextmanager
def raised_floor(database: Database, version: str = "99.0.0") -> Iterator[str]:
    """In this block, a migrated database needs at least this version of Trainshed; yields it."""
    with database.engine.begin() as connection:
        before = connection.scalar(select(VersionFloor.version))
        connection.execute(update(VersionFloor).values(version=version))
    try:
        yield version
    finally:
        with database.engine.begin() as connection:
            connection.execute(update(VersionFloor).values(version=before))


def trigger_definitions(connection: Connection) -> dict[str, str]:
    """Return the SQL of the triggers that the database has, by their names, in alphabetical order."""
    if connection.dialect.name == "sqlite":
        selected = "SELECT name, sql AS definition FROM sqlite_schema WHERE type = 'trigger'"
    else:
        definition = "pg_get_triggerdef(pg_trigger.oid) || pg_get_functiondef(tgfoid)"
        selected = f"SELECT tgname AS name, {definition} AS definition FROM pg_trigger WHERE NOT tgisinternal"
    return {row.name: row.definition for row in connection.execute(text(f"{selected} ORDER BY name"))}


def _set_version(database: Database, version: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
