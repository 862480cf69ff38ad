"""The API on SQLite and without a broker: enough for all that does not depend on either."""

from collections.abc import Iterator

import httpx
import pytest

from api.app import create_app
from shared.settings import Settings
from tests.support.servers import running_app


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database only; tests/integration/test_api.py has both."""
    return sqlite_url


@pytest.fixture
def client(settings: Settings, database_url: str) -> Iterator[httpx.Client]:
    """A client of the API, served over HTTP."""
    with running_app(create_app(settings.model_copy(update={"database_url": database_url}))) as client:
        yield client
