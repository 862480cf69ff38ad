"""Fixtures for clusters of real processes, which the oracle checks after every test."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings
from tests.faults.cluster import Cluster, fast_settings
from tests.support.servers import RedisServer

NewCluster = Callable[..., AbstractContextManager[Cluster]]

KILLS_ON_SQLITE = pytest.mark.parametrize(
    "database_url", [pytest.param("sqlite", marks=pytest.mark.kills), "postgresql"], indirect=True
)
"""Marks a test that runs on both databases, although the fault is none of theirs: `make kills` has one."""

_LOGS = pytest.StashKey[list[Path]]()
_LOG_TAIL = 8_000


@pytest.fixture
def new_cluster(tmp_path: Path, request: pytest.FixtureRequest) -> NewCluster:
    """Return a factory of clusters on given servers; each is verified and ended with its `with` block."""
    folders = request.node.stash.setdefault(_LOGS, [])

    @contextmanager
    def new(database_url: str, redis_url: str, **overrides: Any) -> Iterator[Cluster]:
        folder = tmp_path / f"cluster-{len(folders)}"
        folder.mkdir()
        folders.append(folder)
        urls = {"database_url": database_url, "redis_url": redis_url}
        with Cluster(folder, Settings(**fast_settings(data_dir=folder, **urls, **overrides))) as cluster:
            yield cluster
            cluster.verify()

    return new


@pytest.fixture
def cluster(redis: RedisServer, database_url: str, new_cluster: NewCluster) -> Iterator[Cluster]:
    """A cluster without processes yet, once for each kind of database."""
    with new_cluster(database_url, redis.url) as cluster:
        yield cluster


@pytest.fixture
def sqlite_cluster(redis: RedisServer, sqlite_url: str, new_cluster: NewCluster) -> Iterator[Cluster]:
    """A cluster on SQLite, for faults that do not depend on the database."""
    with new_cluster(sqlite_url, redis.url) as cluster:
        yield cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of the processes to the report of a failed test."""
    report = yield
    if report.failed:
        for folder in item.stash.get(_LOGS, []):
            for log in sorted(folder.glob("*.log")):
                report.sections.append((f"log of {log.stem}", log.read_text(errors="replace")[-_LOG_TAIL:]))
    return report
