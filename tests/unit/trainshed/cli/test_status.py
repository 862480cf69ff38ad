"""`trainshed status`."""

import json

from sqlalchemy import text
from typer.testing import CliRunner, Result

from api.app import create_app
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import queue_driver, registry
from tests.support.command_line import CommandLine
from tests.support.fake_api import FakeApi, make_problem
from tests.support.servers import RedisServer, running_app
from trainshed.cli.main import app


def _run(url: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["status", *map(str, arguments), "--url", url])


def test_a_ready_server_is_shown_with_its_jobs_and_queues(
    settings: Settings, database_url: str, database: Database, redis: RedisServer
) -> None:
    queue_driver.submit(database)
    queue_driver.running(database)
    whole = settings.model_copy(update={"database_url": database_url, "redis_url": redis.url})
    with running_app(create_app(whole)) as api:
        result = _run(str(api.base_url))
        status = json.loads(_run(str(api.base_url), "--json").stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Jobs: 1 queued, 1 running" in result.stdout
    assert (status["lacks"], status["jobs"]["total"], status["queues"][0]["running"]) == ("", 2, 1)
    assert "Tenants of the queue default" in result.stdout
    [tenant] = status["tenants"]["default"]
    assert (tenant["queued"], tenant["running"]) == (1, 1)


def test_workers_that_have_stopped_are_not_shown(url: str, database: Database) -> None:
    registry.worker(database, id="host:1")
    registry.worker(database, id="host:2", state="stopped")
    shown = _run(url)
    assert "host:1" in shown.stdout
    assert "host:2" not in shown.stdout
    assert f"{url}: no key needed on this host (admin access)" in shown.stdout


def test_a_server_without_redis_is_ready_and_shown_with_what_it_lacks(url: str, database: Database) -> None:
    queue_driver.submit(database)
    result = _run(url)  # its Redis does not run
    assert result.exit_code == 0
    assert result.stderr.startswith("Ready, but Redis is unavailable: start it")
    assert "Jobs: 1 queued" in result.stdout


def test_a_server_that_is_not_ready_is_shown_with_the_reason(url: str, database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    result = _run(url)
    assert result.exit_code == 1
    assert result.stderr.startswith("Not ready: the schema is that of an older version")


def test_a_server_without_a_database_is_only_a_reason() -> None:
    api = FakeApi()
    api.ready = make_problem(503, "no database")
    result = CommandLine(api).run("status")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Not ready: {api.connect().url} is not ready")
