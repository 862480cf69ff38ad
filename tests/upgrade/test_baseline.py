"""The tests' schema of release 0.1.0 is its own, and a moved database has the schema of a new one."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from tests.support import old_schema
from tests.support.databases import migrate, open_database
from tests.support.servers import PostgresServer

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(120)]

_MIGRATE = "import sys; from shared.db.engine import Database; Database(sys.argv[1]).migrate()"
_SECTION = re.compile(r"\n(?=--\n-- (?:Data for )?Name: )")
_TYPE = re.compile(r"; Type: ([A-Z ]+);")
_OF_TRIGGERS = ("trigger", "TRIGGER", "FUNCTION")
# is left where a table was renamed: quotes in SQLite's text, and the names that PostgreSQL 18 gives NOT NULL
_RENAMED = re.compile(r'"| CONSTRAINT new_\w+(?= NOT NULL)')

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
        yield [f"sqlite:///{tmp_path}/{name}.db" for name in ("release", "other")], _sqlite_dump
        return
    names = [f"{name}_{uuid4().hex}" for name in ("release", "other")]
    for name in names:
        postgres_server.execute(f"CREATE DATABASE {name}")
    yield [postgres_server.url(name) for name in names], lambda url: _postgresql_dump(postgres_server, url)
    for name in names:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _create_released(url: str, release: Path) -> None:
    subprocess.run([sys.executable, "-c", _MIGRATE, url], cwd=release, check=True)


def test_the_tests_schema_of_the_release_is_its_own_but_for_the_triggers(
    databases: tuple[list[str], Dump], release_of_baseline: Path
) -> None:
    (released, other), dump = databases
    _create_released(released, release_of_baseline)
    with open_database(other) as database, database.engine.begin() as connection:
        old_schema.create(connection)
    without_triggers = [each for each in dump(released) if each[0] not in _OF_TRIGGERS]
    assert len(without_triggers) < len(dump(released))
    assert dump(other) == without_triggers


def _plain(text: str) -> str:
    # the table of the version floor stays, whose text has other blanks on SQLite
    return " ".join(_RENAMED.sub("", text).split())


def test_a_migrated_database_of_the_release_is_like_a_new_one(
    databases: tuple[list[str], Dump], release_of_baseline: Path
) -> None:
    (released, new), dump = databases
    _create_released(released, release_of_baseline)
    migrate(released)
    migrate(new)
    moved, created = ([(kind, _plain(text)) for kind, text in dump(url)] for url in (released, new))
    assert moved == created
    assert {"trigger", "TRIGGER"} & {kind for kind, _ in moved}
