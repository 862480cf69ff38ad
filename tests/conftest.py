"""Fixtures of all tests: real databases, a real Redis, and settings that ignore the environment."""

import gc
import logging
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from api.app import create_app
from shared import tracing
from shared.broker import Broker
from shared.db.engine import Database
from shared.settings import Settings, get_settings
from shared.store.change_feed import ChangePublisher
from tests.support import old_rows
from tests.support.databases import EMPTYING, migrate, open_database
from tests.support.factories import make_settings
from tests.support.fakes import FrozenClock
from tests.support.lacking import environment_lacks
from tests.support.paths import MNIST
from tests.support.servers import PostgresServer, RedisServer, running_app, running_postgres, running_redis
from tests.support.trace_collector import Collector, running_collector

_LONG = {"contract", "e2e", "faults", "mnist", "web"}  # folders of tests of many seconds each

# a shell that runs the tests in the background has it ignored, and so would each program that they interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
gc.disable()  # while tests are imported: nothing of that is garbage


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that start PostgreSQL, so that `make quick` can leave them out."""
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if "postgresql" in parameters or "postgres_server" in item.fixturenames:
        item.add_marker(pytest.mark.postgresql)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin each process's part with modules of long tests, so that none still runs when all else is done.

    xdist first deals out parts of the same length, in this order.
    """
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    long = [tests for path, tests in modules.items() if path.parent.name in _LONG]
    short = deque(item for path, tests in modules.items() if path.parent.name not in _LONG for item in tests)
    parts, ordered = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), list[pytest.Item]()
    for part in range(parts):
        end = len(ordered) + (len(items) - len(ordered)) // (parts - part)
        ordered += chain.from_iterable(long[part::parts])
        ordered += [short.popleft() for _ in range(min(len(short), end - len(ordered)))]
    items[:] = ordered


def pytest_collection_finish() -> None:
    """Exempt what the imports have created from garbage collection: a tenth of the time of short tests."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000)


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """The logs of this process are afterwards as they were: other tests' servers go on logging."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[dict[str, str]]:
    """Remove Trainshed's and OpenTelemetry's variables, which no test may depend on; yield them."""
    ours = ("TRAINSHED_", "OTEL_")
    variables = {name: value for name, value in os.environ.items() if name.startswith(ours)}
    with pytest.MonkeyPatch.context() as environment:
        for name in variables:
            environment.delenv(name)
        yield variables


@pytest.fixture(autouse=True)
def _same_environment(_environment: dict[str, str]) -> Iterator[None]:
    """Fail a test that leaves the environment changed: what later tests start would inherit that."""
    before = dict(os.environ)
    yield
    changed = dict(set(os.environ.items()) ^ set(before.items()))
    changed.pop("PYTEST_CURRENT_TEST", None)
    assert sorted(changed) == []


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def real_mnist(_environment: dict[str, str]) -> dict[str, str]:
    """URLs of the real MNIST sprite, as settings: the environment's, or `shared/data` beside the checkout."""
    urls = {
        "mnist_images_url": (MNIST / "mnist_images.png").as_uri(),
        "mnist_labels_url": (MNIST / "mnist_labels_uint8").as_uri(),
    }
    configured = {name: _environment.get(f"TRAINSHED_{name.upper()}") for name in urls}
    if all(configured.values()):
        return {name: str(url) for name, url in configured.items()}
    if not (MNIST / "mnist_images.png").exists():
        environment_lacks(f"no MNIST sprite: neither TRAINSHED_MNIST_IMAGES_URL and _LABELS_URL nor {MNIST}")
    return urls


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a stack in the test's folder, where nothing runs; `mnist` cannot be downloaded."""
    return make_settings(tmp_path)


@pytest.fixture
def live_settings(settings: Settings, database_url: str, redis: RedisServer) -> Settings:
    """Settings of a stack whose database and Redis run; the test runs once for each kind of database."""
    return settings.model_copy(update={"database_url": database_url, "redis_url": redis.url})


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests. A test that stops it starts its own with `running_postgres`."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Creates a migrated, empty SQLite database in a folder, and returns its URL."""
    template = tmp_path_factory.mktemp("template") / "trainshed.db"
    migrate(f"sqlite:///{template}")

    def new(folder: Path) -> str:
        return f"sqlite:///{shutil.copy(template, folder / 'trainshed.db')}"

    return new


@pytest.fixture(scope="session")
def _migrated_postgresql(postgres_server: PostgresServer) -> str:
    postgres_server.execute("CREATE DATABASE migrated")
    migrate(postgres_server.url("migrated"))
    return "migrated"


@pytest.fixture
def sqlite_url(tmp_path: Path, new_sqlite: Callable[[Path], str]) -> str:
    """The URL of a migrated, empty SQLite database of the test's own."""
    return new_sqlite(tmp_path)


@pytest.fixture
def postgresql_url(postgres_server: PostgresServer, _migrated_postgresql: str) -> str:
    """The URL of a migrated, empty PostgreSQL database: emptied in 10 ms, where a new one takes 300 ms."""
    other_connections = "datname = current_database() AND pid <> pg_backend_pid()"
    postgres_server.execute(
        "; ".join(
            [
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {other_connections}",
                *EMPTYING,
            ]
        ),
        _migrated_postgresql,
    )
    return postgres_server.url(_migrated_postgresql)


@pytest.fixture
def old_sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database that does not exist yet, for tables of before 0.2.0."""
    return f"sqlite:///{tmp_path}/old.db"


@pytest.fixture
def old_postgresql_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new PostgreSQL database without any table."""
    name = f"old_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with rows in each table of 0.1.0; the test runs once for each kind."""
    return old_rows.create(str(request.getfixturevalue(f"old_{request.param}_url")))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database; the test runs once for each kind of database."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The database at `database_url`, open."""
    with open_database(database_url) as database:
        yield database


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Database]:
    """A migrated, empty PostgreSQL database, open."""
    with open_database(postgresql_url) as database:
        yield database


@pytest.fixture
def publisher(live_settings: Settings) -> Iterator[ChangePublisher]:
    """A publisher of committed changes to `redis`."""
    publisher = ChangePublisher(live_settings)
    yield publisher
    publisher.close()


@pytest.fixture
def publishing_database(database_url: str, publisher: ChangePublisher) -> Iterator[Database]:
    """The database at `database_url`, open; each change of a job is published, as by the API and workers."""
    with open_database(database_url, committed=publisher) as database:
        yield database


@pytest.fixture
def clock() -> FrozenClock:
    """A database clock that only the test moves."""
    return FrozenClock()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A real, empty Redis of the test's own, which it may stop and start."""
    with running_redis() as server:
        yield server


@pytest.fixture
def broker(settings: Settings, redis: RedisServer) -> Iterator[Broker]:
    """A broker connected to `redis`."""
    broker = Broker(settings.model_copy(update={"redis_url": redis.url}))
    yield broker
    broker.close()


@pytest.fixture
def api(live_settings: Settings) -> Iterator[httpx.Client]:
    """An HTTP client of the API, which runs on `database_url` and `redis`."""
    with running_app(create_app(live_settings)) as client:
        yield client


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that this process exports its spans to; `tracing.stop` sends the last ones."""
    with running_collector() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        tracing.start("test")
        yield collector
        collector.may_answer.set()
        tracing.stop()
