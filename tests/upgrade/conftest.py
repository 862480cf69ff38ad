"""A cluster on PostgreSQL and Redis, and versions of the code: the last release, and a next one."""

import os
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from shared.settings import Settings
from tests.faults.cluster import Cluster, fast_settings
from tests.support.servers import PostgresServer, RedisServer
from tests.upgrade.rollout import Rollout
from tests.upgrade.switch import Switch
from tests.upgrade.versions import NoRelease, Release, install_next, install_release, last_release

_LOG_TAIL = 8_000
# none is to be lost here: with those of the fault tests a busy machine may be too late
_LEASES = {"lease_s": 15.0, "heartbeat_s": 3.0}


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the last release's code."""
    return _installed(last_release, tmp_path_factory)


@pytest.fixture(scope="session")
def release_of_baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the code of the release whose schema is the first migration."""
    return _installed(partial(last_release, version=r"0\.1\.0"), tmp_path_factory)


def _installed(find: Callable[[], Release], tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        release = find()
    except NoRelease as error:
        if os.environ.get("CI") == "true" and not error.is_expected:
            pytest.fail(str(error))
        pytest.skip(str(error))
    return install_release(release, tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a later release: this checkout, with a migration that expands the schema."""
    return install_next(tmp_path_factory.mktemp("next"))


@pytest.fixture
def cluster(tmp_path: Path, postgres_server: PostgresServer, redis: RedisServer) -> Iterator[Cluster]:
    """A cluster without processes, on an empty database, which has no schema."""
    name = f"upgrade_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    urls = {"database_url": postgres_server.url(name), "redis_url": redis.url}
    with Cluster(tmp_path, Settings(**fast_settings(data_dir=tmp_path, **urls, **_LEASES))) as cluster:
        yield cluster
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def rollout(cluster: Cluster) -> Iterator[Rollout]:
    """The cluster's processes, behind a switch."""
    with Switch() as switch:
        yield Rollout(cluster, switch)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of the processes to the report of a failed test."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and folder is not None:
        for log in sorted(folder.glob("*.log")):
            report.sections.append((f"log of {log.stem}", log.read_text(errors="replace")[-_LOG_TAIL:]))
    return report
