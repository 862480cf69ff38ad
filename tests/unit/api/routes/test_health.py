"""Liveness, readiness, version and Prometheus metrics over HTTP."""

from importlib.metadata import version

import httpx
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from shared.db.engine import Database
from shared.settings import Settings
from tests.support.factories import submitted
from tests.support.servers import RedisServer, running_app


def test_the_process_is_alive_without_database_and_redis(settings: Settings) -> None:
    with running_app(create_app(settings)) as client:
        assert client.get("/livez").json() == {"status": "alive"}


def test_it_is_ready_with_a_migrated_database_and_redis(api: httpx.Client) -> None:
    answer = api.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "checks": {name: {"ok": True, "detail": "ok"} for name in ("database", "migrations", "redis")},
    }


def test_it_is_not_ready_without_redis(api: httpx.Client, redis: RedisServer) -> None:
    redis.stop()

    answer = api.get("/readyz")

    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["redis"]
    assert "TRAINSHED_REDIS_URL" in checks["redis"]["detail"]


def test_it_is_not_ready_before_the_migrations(settings: Settings, redis: RedisServer) -> None:
    with running_app(create_app(settings.model_copy(update={"redis_url": redis.url}))) as client:
        answer = client.get("/readyz")

    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["migrations"]
    assert "migrate" in checks["migrations"]["detail"]


def test_it_is_not_ready_without_a_database_and_does_not_show_its_password(settings: Settings) -> None:
    unavailable = settings.model_copy(
        update={"database_url": f"postgresql+psycopg://me:hunter2@/x?host={settings.data_dir}"}
    )
    with running_app(create_app(unavailable)) as client:
        answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "TRAINSHED_DATABASE_URL" in answer.json()["checks"]["database"]["detail"]
    assert not answer.json()["checks"]["migrations"]["ok"]
    assert "hunter2" not in answer.text


def test_the_version_is_the_packages(client: httpx.Client) -> None:
    assert client.get("/version").json() == {"version": version("trainshed")}


def test_the_metrics_are_of_jobs_and_requests(client: httpx.Client, database: Database) -> None:
    job_id = submitted(database)
    client.get(f"/v1/jobs/{job_id}")

    answer = client.get("/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"trainshed_jobs", "trainshed_jobs_submitted", "trainshed_http_request_seconds"} <= families
    assert str(job_id) not in answer.text
