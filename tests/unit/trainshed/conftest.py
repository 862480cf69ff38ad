"""A real API on SQLite, for what the fake API does not implement."""

import logging
from collections.abc import Iterator
from uuid import UUID

import pytest

from api.app import create_app
from shared.db.engine import Database
from shared.formats.results import KERAS_FILE, ONNX_FILE
from shared.settings import Settings
from tests.support import factories, queue_driver
from tests.support.onnx_models import make_counting_onnx
from tests.support.servers import running_app
from trainshed import Client


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only."""
    return sqlite_url


@pytest.fixture
def url(settings: Settings, database_url: str) -> Iterator[str]:
    """The URL of a real API."""
    with running_app(create_app(settings.model_copy(update={"database_url": database_url}))) as client:
        yield str(client.base_url)


@pytest.fixture
def server(url: str) -> Iterator[Client]:
    """A client of that API."""
    with Client(url) as server:
        yield server


@pytest.fixture
def model_id(database: Database) -> UUID:
    """A model that predicts 3, with a probability that grows with the amount of ink."""
    model = factories.make_model(
        files={KERAS_FILE: b"a .keras file", ONNX_FILE: make_counting_onnx()},
        spec=factories.make_spec(dataset="digits"),
    )
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 3)
    queue_driver.succeed(database, attempt, model)
    return model.id


@pytest.fixture(autouse=True)
def _told() -> Iterator[None]:
    """Have the client tell that it waits, and restore what a command with `--json` makes of that."""
    logger = logging.getLogger("trainshed")
    before = logger.level
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(before)
