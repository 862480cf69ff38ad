"""The first migration makes the schema of release 0.1.0 to the last byte, and later ones treat both alike."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from sqlalchemy import make_url

from shared.db import migrating
from tests.support.databases import migrate, open_database
from tests.support.servers import PostgresServer

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(120)]

_MIGRATE = "import sys; from shared.db.engine import Database; Database(sys.argv[1]).migrate()"
_SECTION = re.compile(r"\n(?=--\n-- (?:Data for )?Name: )")
_TYPE = re.compile(r"; Type: ([A-Z ]+);")
_OF_TRIGGERS = ("trigger", "TRIGGER", "FUNCTION")  # which the newest migration brings

Dump = Callable[[str], list[tuple[str, str]]]
"""Returns the type and the text of each object and row of the database at a URL, in a fixed order."""


def _sqlite_dump(url: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(make_url(url).database or "")) as connection:
        schema = connection.execute(
            "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
        ).fetchall()
        rows = [
            ("row", f"{name}: {row}")
            for kind, name, _ in schema
            if kind == "table"
            for row in connection.execute(f'SELECT * FROM "{name}"').fetchall()
        ]
    texts = {name: sql for _, name, sql in schema}
    # of this one table the release's migrations take the constraints from a set, in any order
    columns, *constraints = texts["job_events"].removesuffix("\n)").split(", \n\tCONSTRAINT ")
    texts["job_events"] = ", \n\tCONSTRAINT ".join([columns, *sorted(constraints)])
    return [(kind, f"{name}: {texts[name]}") for kind, name, _ in schema] + rows


def _postgresql_dump(server: PostgresServer, url: str) -> list[tuple[str, str]]:
    sections = _SECTION.split(server.dump(make_url(url).database or ""))
    found = [(kind[1], section) for section in sections if (kind := _TYPE.search(section))]
    # each migration raises the sequence to the time
    return [(kind, section) for kind, section in found if kind != "SEQUENCE SET"]


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> Iterator[tuple[list[str], Dump]]:
    """The URLs of two databases without any table, and a function that dumps them."""
    if request.param == "sqlite":
        yield [f"sqlite:///{tmp_path}/{name}.db" for name in ("release", "baseline")], _sqlite_dump
        return
    names = [f"{name}_{uuid4().hex}" for name in ("release", "baseline")]
    for name in names:
        postgres_server.execute(f"CREATE DATABASE {name}")
    yield [postgres_server.url(name) for name in names], lambda url: _postgresql_dump(postgres_server, url)
    for name in names:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_new_database_and_one_of_the_release_have_the_same_schema(
    databases: tuple[list[str], Dump], release_of_baseline: Path
) -> None:
    (released, new), dump = databases
    subprocess.run([sys.executable, "-c", _MIGRATE, released], cwd=release_of_baseline, check=True)
    with open_database(new) as database, database.engine.begin() as connection:
        command.upgrade(migrating._config(connection), migrating.VERSIONS[0])

    without_triggers = [each for each in dump(released) if each[0] not in _OF_TRIGGERS]
    assert len(without_triggers) < len(dump(released))
    assert dump(new) == without_triggers

    migrate(released)
    migrate(new)
    assert dump(new) == dump(released)
    assert {"trigger", "TRIGGER"} & {kind for kind, _ in dump(new)}
