"""The API's connections are opened together and closed together."""

import psutil
import pytest

from api.services import open_services
from shared.settings import Settings
from tests.support import queue_driver, stored
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A database of the test's own, whose files no other API has open."""
    return sqlite_url


def _open_database_files(settings: Settings) -> list[str]:
    files = (file.path for file in psutil.Process().open_files())
    return [path for path in files if path.startswith(str(settings.data_dir))]


def _redis_clients(redis: RedisServer) -> int:
    """Connections to Redis besides the one that counts them."""
    with redis.client() as client:
        return len(client.client_list()) - 1


def test_services_use_the_settings_database(live_settings: Settings) -> None:
    with open_services(live_settings) as services:
        assert stored.count_jobs(services.database) == 0


def test_no_connection_is_left_when_the_services_are_closed(
    live_settings: Settings, redis: RedisServer
) -> None:
    with open_services(live_settings) as services:
        queue_driver.submit(services.database)
        services.broker.wake({"default": 1})
        assert _open_database_files(live_settings)
        assert _redis_clients(redis) > 0

    assert not _open_database_files(live_settings)
    wait_until(lambda: _redis_clients(redis) == 0, "Redis has no connection left")
