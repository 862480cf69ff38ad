"""Databases of tests: opened for the length of a `with` block, or migrated."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.db.engine import Database


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
