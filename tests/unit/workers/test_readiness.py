"""A worker says what it lacks, once a minute, and waits until it is there."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.db.engine import Database
from shared.db.floor import own_version
from shared.settings import Settings
from tests.support.databases import migrate, newer_schema, open_database, other_schema, raised_floor
from tests.support.fakes import MonotonicClock
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from workers import readiness
from workers.readiness import Dependencies, ExitCode, Obstacle, Reports, database_obstacle

_NO_SCHEMA = Obstacle(ExitCode.SCHEMA, "no schema: run it")
_NO_REDIS = Obstacle(ExitCode.REDIS, "no Redis: start it")


@contextmanager
def opened(settings: Settings, **overrides: str | bool) -> Iterator[Dependencies]:
    """The dependencies that settings with overrides name."""
    dependencies = Dependencies(settings.model_copy(update=overrides))
    try:
        yield dependencies
    finally:
        dependencies.close()


@pytest.fixture
def dependencies(live_settings: Settings) -> Iterator[Dependencies]:
    with opened(live_settings) as dependencies:
        yield dependencies


@pytest.fixture
def empty_url(tmp_path: Path) -> str:
    """The URL of a database without a schema."""
    return f"sqlite:///{tmp_path / 'empty.db'}"


def test_nothing_is_missing_of_a_stack_that_runs(dependencies: Dependencies) -> None:
    assert dependencies.obstacles() == []


def test_a_stopped_redis_is_missing_and_a_started_one_is_not(
    dependencies: Dependencies, redis: RedisServer
) -> None:
    redis.stop()
    [obstacle] = dependencies.obstacles()
    assert obstacle.code == ExitCode.REDIS
    assert obstacle.text == "Redis is unavailable: start it, or correct TRAINSHED_REDIS_URL"
    redis.start()
    assert dependencies.obstacles() == []


def test_a_redis_whose_memory_is_full_is_enough(dependencies: Dependencies, redis: RedisServer) -> None:
    # to take messages needs none
    with redis.client() as client:
        client.config_set("maxmemory", "1")
    assert dependencies.obstacles() == []


def test_a_key_of_another_type_is_an_obstacle(dependencies: Dependencies, redis: RedisServer) -> None:
    with redis.client() as client:
        client.set("default", "text")
    [obstacle] = dependencies.obstacles()
    assert "delete it" in obstacle.text


def test_a_database_without_a_schema_is_to_be_migrated(empty_url: str, settings: Settings) -> None:
    settings = settings.model_copy(update={"database_url": empty_url})
    with open_database(empty_url) as database:
        obstacle = database_obstacle(database, settings)
        assert obstacle is not None
        assert obstacle.code == ExitCode.SCHEMA
        assert "empty.db has no schema" in obstacle.text
        assert "run `trainshed migrate`" in obstacle.text
        database.migrate()
        assert database_obstacle(database, settings) is None
        with newer_schema(database):
            assert database_obstacle(database, settings) is None


def test_a_schema_of_a_version_before_0_1_0_is_to_be_migrated_by_that_first(
    database: Database, database_url: str, settings: Settings
) -> None:
    settings = settings.model_copy(update={"database_url": database_url})
    with other_schema(database):
        obstacle = database_obstacle(database, settings)
    assert obstacle is not None
    assert obstacle.code == ExitCode.SCHEMA
    assert obstacle.text.endswith(
        " has no schema, or that of an older version: install 0.1.0 and migrate first"
    )


def test_a_worker_that_is_too_old_for_the_database_says_which_one_it_needs_and_ends(
    live_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        opened(live_settings) as dependencies,
        open_database(live_settings.database_url) as database,
        raised_floor(database),
    ):
        assert readiness.check(dependencies) == ExitCode.VERSION
        with pytest.raises(SystemExit) as exit_:
            readiness.wait(dependencies)
    assert exit_.value.code == ExitCode.VERSION
    needs = f"the database needs Trainshed 99.0.0 or later, and this is {own_version()}: install that"
    assert caplog.text.count(f"cannot work: {needs}") == 2


def test_a_database_that_does_not_answer_is_named_without_its_password(settings: Settings) -> None:
    url = "postgresql+psycopg://user:a-long-secret@127.0.0.1:1/jobs?connect_timeout=1"
    settings = settings.model_copy(update={"database_url": url})
    with open_database(url) as database:
        obstacle = database_obstacle(database, settings)
    assert obstacle is not None
    assert obstacle.code == ExitCode.DATABASE
    assert obstacle.text.startswith("the database 127.0.0.1/jobs does not answer: start it, or correct")
    assert "a-long-secret" not in obstacle.text
    assert "\n" not in obstacle.text


def test_a_gpu_is_missing_only_if_it_is_required(
    live_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with opened(live_settings) as dependencies:
        assert dependencies.obstacles() == []
    with opened(live_settings, require_gpu=True) as dependencies:
        [obstacle] = dependencies.obstacles()
        assert obstacle.code == ExitCode.GPU
        assert "TRAINSHED_REQUIRE_GPU" in obstacle.text
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        assert dependencies.obstacles() == []


def test_what_is_missing_is_logged_when_it_changes_and_each_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = MonotonicClock()
    reports = Reports(clock)

    def logged(*obstacles: Obstacle, after_s: float = 0.0) -> list[str]:
        caplog.clear()
        clock.advance(after_s)
        reports.report(list(obstacles))
        return [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]

    assert logged() == []
    assert logged(_NO_SCHEMA, _NO_REDIS) == ["cannot work: no schema: run it; no Redis: start it"]
    assert logged(_NO_SCHEMA, _NO_REDIS, after_s=59) == []
    assert logged(_NO_SCHEMA, _NO_REDIS, after_s=1) == ["cannot work: no schema: run it; no Redis: start it"]
    assert logged(_NO_REDIS, after_s=1) == ["cannot work: no Redis: start it"]
    assert logged(after_s=1) == ["nothing is missing any more"]
    assert logged(after_s=100) == []


def test_the_check_returns_the_code_of_what_is_missing_first(
    live_settings: Settings, dependencies: Dependencies, empty_url: str, redis: RedisServer
) -> None:
    with opened(live_settings, database_url=empty_url) as unmigrated:
        assert readiness.check(dependencies) == ExitCode.READY
        assert readiness.check(unmigrated) == ExitCode.SCHEMA
        redis.stop()
        assert readiness.check(unmigrated) == ExitCode.SCHEMA
        assert readiness.check(dependencies) == ExitCode.REDIS


@pytest.mark.slow
def test_waiting_ends_when_the_schema_is_there(
    settings: Settings, empty_url: str, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    def migrate_when_missing() -> None:
        wait_until(lambda: "cannot work" in caplog.text, "the schema is missing")
        migrate(empty_url)

    migrating = threading.Thread(target=migrate_when_missing)
    migrating.start()
    with opened(settings, database_url=empty_url, redis_url=redis.url) as dependencies:
        readiness.wait(dependencies)
    migrating.join()
    assert caplog.text.count("cannot work") == 1
    assert "nothing is missing any more" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_waiting_exits_with_the_code_of_what_is_missing(
    settings: Settings, empty_url: str, caplog: pytest.LogCaptureFixture, stop: signal.Signals
) -> None:
    caplog.set_level(logging.INFO)
    before = signal.getsignal(stop)

    def stop_when_missing() -> None:
        wait_until(lambda: "cannot work" in caplog.text, "the schema is missing")
        os.kill(os.getpid(), stop)

    stopping = threading.Thread(target=stop_when_missing)
    stopping.start()
    with opened(settings, database_url=empty_url) as dependencies, pytest.raises(SystemExit) as exit_:
        readiness.wait(dependencies)
    stopping.join()
    assert exit_.value.code == ExitCode.SCHEMA
    assert signal.getsignal(stop) is before
