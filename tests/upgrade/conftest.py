"""A cluster on PostgreSQL and Redis, and versions of the code: the last release, and a next one."""

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from shared.settings import Settings
from tests.faults.cluster import Cluster, fast_settings
from tests.support.lacking import environment_lacks
from tests.support.paths import ROOT
from tests.support.servers import PostgresServer, RedisServer
from tests.upgrade.rollout import Rollout
from tests.upgrade.switch import Switch
from tests.upgrade.versions import NoRelease, Release, install_next, install_release, last_release

_LOG_TAIL = 8_000
# none is to be lost here: with those of the fault tests a busy machine may be too late
_LEASES = {"lease_s": 15.0, "heartbeat_s": 3.0}


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the last release's code; this checkout's, if that release is left by a stop."""
    release = _found()
    return ROOT if release.is_left_by_a_stop else _installed(release, tmp_path_factory)


@pytest.fixture(scope="session")
def stopped_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the last release's code, if all of its processes are stopped before an upgrade."""
    release = _found()
    if not release.is_left_by_a_stop:
        pytest.skip(f"an upgrade from {release.version} is rolled out")
    return _installed(release, tmp_path_factory)


@pytest.fixture(scope="session")
def release_of_baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the code of 0.1.0, whose rows are moved."""
    return _installed(_found(partial(last_release, version=r"0\.1\.0")), tmp_path_factory)


def _found(find: Callable[[], Release] = last_release) -> Release:
    try:
        return find()
    except NoRelease as error:
        if error.is_expected:
            pytest.skip(str(error))
        environment_lacks(str(error))


def _installed(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_release(release, tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a later release: this checkout, with a migration that expands the schema."""
    return install_next(tmp_path_factory.mktemp("next"))


@pytest.fixture
def postgresql_without_schema(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"upgrade_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_without_schema(tmp_path: Path) -> str:
    """The URL of an SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path}/trainshed.db"


@pytest.fixture(params=["postgresql"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Iterator[Cluster]:
    """A cluster without processes, on an empty database, which has no schema."""
    url = request.getfixturevalue(f"{request.param}_without_schema")
    settings = fast_settings(
        data_dir=tmp_path, database_url=url, redis_url=redis.url, webhooks_allow_private=True, **_LEASES
    )
    with Cluster(tmp_path, Settings(**settings)) as cluster:
        yield cluster


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
