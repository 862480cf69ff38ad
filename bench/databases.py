"""Runs a benchmark of the API on both kinds of database: SQLite in a file, and a real PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx

from api.app import create_app
from shared.db.engine import Database
from shared.settings import Settings
from tests.support.databases import migrate, open_database
from tests.support.servers import PostgresServer, running_app, running_postgres, running_redis

T = TypeVar("T")
Times = dict[str, list[float]]


def durable_postgres() -> AbstractContextManager[PostgresServer]:
    """Run a PostgreSQL whose commits wait for the disk, as Trainshed's commits to SQLite do."""
    return running_postgres("-c", "fsync=on")


@contextmanager
def database_urls(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the URL of an empty, durable database of each kind, by the kind's name."""
    with durable_postgres() as server:
        yield {"SQLite": f"sqlite:///{folder / 'bench.db'}", "PostgreSQL": server.url()}


@contextmanager
def sqlite_settings(**options: Any) -> Iterator[Settings]:
    """Yield settings with an empty SQLite database, a Redis and, unless `options` has one, no rate limit."""
    with TemporaryDirectory(prefix="bench-") as name, running_redis() as redis:
        url = migrate(f"sqlite:///{Path(name) / 'bench.db'}")
        values = {"rate_limit": 0, **options, "data_dir": Path(name), "database_url": url}
        yield Settings.model_validate({**values, "redis_url": redis.url})


def measure_api(
    prepare: Callable[[Database], T], measure: Callable[[httpx.Client, T], Times]
) -> dict[str, Times]:
    """Measure requests to an API in this process, on each kind of database; return the times by kind.

    Args:
        prepare: fills the migrated database.
        measure: sends requests to the API, given the result of `prepare`, and returns the times by case.
    """
    times = {}
    with TemporaryDirectory(prefix="bench-") as name, database_urls(Path(name)) as urls:
        for kind, url in urls.items():
            with open_database(migrate(url)) as database:
                prepared = prepare(database)
            settings = Settings(
                data_dir=Path(name), database_url=url, redis_url=f"unix://{name}/redis.sock", rate_limit=0
            )
            with running_app(create_app(settings)) as api:
                times[kind] = measure(api, prepared)
    return times
