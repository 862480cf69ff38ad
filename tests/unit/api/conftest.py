"""The API on SQLite and without a broker: enough for all that does not depend on either.

Starting an API takes longer than most tests, so those that need no settings of their own share one, whose
database is emptied before each test.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from shared.settings import Settings
from tests.support.databases import EMPTYING
from tests.support.factories import make_settings
from tests.support.servers import running_app


@pytest.fixture(scope="session")
def _shared_settings(tmp_path_factory: pytest.TempPathFactory, new_sqlite: Callable[[Path], str]) -> Settings:
    folder = tmp_path_factory.mktemp("api")
    return make_settings(folder, database_url=new_sqlite(folder))


@pytest.fixture(scope="session")
def _shared_client(_shared_settings: Settings) -> Iterator[httpx.Client]:
    with running_app(create_app(_shared_settings)) as client:
        yield client


@pytest.fixture
def database_url(_shared_settings: Settings) -> str:
    """The shared database, empty. One kind of database only; tests/integration/test_api.py has both."""
    with closing(sqlite3.connect(_shared_settings.database_url.removeprefix("sqlite:///"))) as connection:
        connection.executescript(f"BEGIN; {'; '.join(EMPTYING)}; COMMIT")
    return _shared_settings.database_url


@pytest.fixture
def client(_shared_client: httpx.Client, database_url: str) -> httpx.Client:  # noqa: ARG001 (empties it)
    """A client of the shared API, served over HTTP, on the database at `database_url`."""
    return _shared_client
