"""Fixtures for every test: real databases, a real Redis, and settings that see only the test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from shared.broker import Broker
from shared.db.engine import Database
from shared.db.tables import Base
from shared.settings import Settings, get_settings
from tests.support.servers import PostgresServer, RedisServer, running_app, running_postgres, running_redis

_MNIST = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_mnist() -> dict[str, str]:
    """The settings that name the real MNIST sprite, from the environment or the folder beside this one."""
    urls = {
        "mnist_images_url": (_MNIST / "mnist_images.png").as_uri(),
        "mnist_labels_url": (_MNIST / "mnist_labels_uint8").as_uri(),
    }
    given = {name: os.environ.get(f"TRAINSHED_{name.upper()}") for name in urls}
    if all(given.values()):
        return {name: str(url) for name, url in given.items()}
    if not (_MNIST / "mnist_images.png").exists():
        reason = f"no MNIST sprite: neither TRAINSHED_MNIST_IMAGES_URL and _LABELS_URL nor {_MNIST}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return urls


@pytest.fixture(autouse=True)
def _no_settings_from_outside(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[None]:
    if "real_mnist" in request.fixturenames:
        request.getfixturevalue("real_mnist")  # reads the environment before it is emptied
    for name in [name for name in os.environ if name.startswith("TRAINSHED_")]:
        monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a stack in a folder of its own: nothing runs there, and nothing is fetched."""
    nowhere = (tmp_path / "nowhere").as_uri()
    return Settings(
        data_dir=tmp_path,
        redis_url=f"unix://{tmp_path / 'redis.sock'}",
        mnist_images_url=nowhere,
        mnist_labels_url=nowhere,
    )


@pytest.fixture
def live_settings(settings: Settings, database_url: str, redis: RedisServer) -> Settings:
    """Settings of a stack whose database and Redis run; once for each kind of database."""
    return settings.model_copy(update={"database_url": database_url, "redis_url": redis.url})


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests. A test that stops it takes `running_postgres` for itself."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def _new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    template = tmp_path_factory.mktemp("template") / "trainshed.db"
    _migrate(f"sqlite:///{template}")

    def new(folder: Path) -> str:
        return f"sqlite:///{shutil.copy(template, folder / 'trainshed.db')}"

    return new


@pytest.fixture(scope="session")
def _migrated_postgresql(postgres_server: PostgresServer) -> str:
    postgres_server.execute("CREATE DATABASE migrated")
    _migrate(postgres_server.url("migrated"))
    return "migrated"


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path, _new_sqlite: Callable[[Path], str]) -> str:
    """A migrated, empty SQLite database of the test's own."""
    return _new_sqlite(tmp_path)


@pytest.fixture
def postgresql_url(postgres_server: PostgresServer, _migrated_postgresql: str) -> str:
    """A migrated, empty PostgreSQL database: emptied, which takes 10 ms where a new one takes 300."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    deletes = [f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables)]
    postgres_server.execute(
        "; ".join([f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}", *deletes]),
        _migrated_postgresql,
    )
    return postgres_server.url(_migrated_postgresql)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database of the test's own; the test runs once for each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """That database, open."""
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A real, empty Redis of the test's own, which the test may stop and start."""
    with running_redis() as server:
        yield server


@pytest.fixture
def broker(settings: Settings, redis: RedisServer) -> Iterator[Broker]:
    """The broker on that Redis."""
    broker = Broker(settings.model_copy(update={"redis_url": redis.url}))
    yield broker
    broker.close()


@pytest.fixture
def api(live_settings: Settings) -> Iterator[httpx.Client]:
    """A client of the API, served over HTTP, on that database and that Redis."""
    with running_app(create_app(live_settings)) as client:
        yield client
