"""Fixtures: databases without any table."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.db.engine import Database
from tests.support.databases import open_database
from tests.support.servers import PostgresServer


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
    """That database, open."""
    with open_database(empty_url) as database:
        yield database


@pytest.fixture
def empty_postgresql(empty_postgresql_url: str) -> Iterator[Database]:
    """A PostgreSQL database without any table, open."""
    with open_database(empty_postgresql_url) as database:
        yield database
