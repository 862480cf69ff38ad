"""Liveness, readiness, version and Prometheus metrics over HTTP."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from threading import Barrier, Event
from time import monotonic

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from api.app import create_app
from api.background import SharedCall
from api.http.auth import OPEN
from shared.db.engine import Database
from shared.settings import Settings
from tests.support.databases import newer_schema, other_schema
from tests.support.queue_driver import submit
from tests.support.servers import PostgresServer, RedisServer, running_app
from tests.support.waiting import wait_until


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


def test_open_operations_respond_while_slow_requests_occupy_every_thread(
    settings: Settings, sqlite_url: str, redis: RedisServer
) -> None:
    end, occupied = Event(), Barrier(41)  # anyio's threads, and this one

    def occupy() -> None:
        occupied.wait(10)
        end.wait(30)

    app = create_app(settings.model_copy(update={"database_url": sqlite_url, "redis_url": redis.url}))
    app.add_api_route("/slow", occupy, dependencies=[OPEN], include_in_schema=False)
    with running_app(app) as client, ThreadPoolExecutor(40) as threads:
        slow = [threads.submit(client.get, "/slow") for _ in range(40)]
        occupied.wait(10)
        try:
            for path in ("/livez", "/readyz", "/version", "/problems/internal", "/docs", "/openapi.json"):
                assert client.get(path, timeout=5).status_code == 200
        finally:
            end.set()
        assert [request.result().status_code for request in slow] == [200] * 40


def _redis_check(api: httpx.Client) -> tuple[bool, str]:
    """What a ready API says about Redis."""
    answer = api.get("/readyz")
    assert answer.status_code == 200
    body = answer.json()
    assert body["ready"]
    return body["checks"]["redis"]["ok"], body["checks"]["redis"]["detail"]


def test_without_redis_it_is_ready_and_says_what_to_do(api: httpx.Client, redis: RedisServer) -> None:
    redis.stop()
    ok, detail = _redis_check(api)
    assert not ok
    assert "TRAINSHED_REDIS_URL" in detail


@pytest.mark.parametrize(
    ("spoil", "mend", "detail"),
    [
        (
            lambda redis: redis.config_set("maxmemory", "1"),
            lambda redis: redis.config_set("maxmemory", "0"),
            "maxmemory",
        ),
        (
            lambda redis: redis.replicaof("127.0.0.1", "1"),
            lambda redis: redis.replicaof("NO", "ONE"),
            "read-only replica",
        ),
        (
            lambda redis: redis.set("default", "text"),
            lambda redis: redis.flushall(),
            "is no list",
        ),
    ],
    ids=["full", "replica", "another type"],
)
def test_a_redis_that_refuses_is_reported_until_it_is_mended(
    api: httpx.Client,
    redis: RedisServer,
    spoil: Callable[[Redis], object],
    mend: Callable[[Redis], object],
    detail: str,
) -> None:
    with redis.client() as client:
        spoil(client)
        ok, reported = _redis_check(api)
        assert not ok
        assert detail in reported
        mend(client)
        assert _redis_check(api) == (True, "ok")


def test_a_redis_that_hangs_delays_the_answer_by_half_a_second(api: httpx.Client, redis: RedisServer) -> None:
    assert _redis_check(api) == (True, "ok")
    redis.hang()
    seconds = []
    for _ in range(3):  # a busy machine delays some answers further
        started = monotonic()
        ok, _ = _redis_check(api)
        seconds.append(monotonic() - started)
        assert not ok
    assert min(seconds) < 0.9
    redis.wake()


def test_it_is_not_ready_before_the_migrations(settings: Settings, redis: RedisServer) -> None:
    with running_app(create_app(settings.model_copy(update={"redis_url": redis.url}))) as client:
        answer = client.get("/readyz")

    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["migrations"]
    assert "migrate" in checks["migrations"]["detail"]


def test_it_is_ready_with_the_schema_of_a_newer_version(api: httpx.Client, database: Database) -> None:
    with newer_schema(database):
        answer = api.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["checks"]["migrations"] == {"ok": True, "detail": "ok"}
        assert api.get("/v1/jobs").status_code == 200


def test_it_is_not_ready_with_the_schema_of_a_version_before_0_1_0(
    api: httpx.Client, database: Database
) -> None:
    with other_schema(database):
        answer = api.get("/readyz")
    assert answer.status_code == 503
    says = "the schema is that of an older version: install 0.1.0 and migrate first"
    assert answer.json()["checks"]["migrations"] == {"ok": False, "detail": says}


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


def test_it_says_that_all_connections_to_the_database_are_used(
    settings: Settings, postgres_server: PostgresServer
) -> None:
    postgres_server.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    url = postgres_server.url().replace("postgres@", "crowded@")
    with running_app(create_app(settings.model_copy(update={"database_url": url}))) as client:
        answer = client.get("/readyz")
    postgres_server.execute("DROP ROLE crowded")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"]["detail"].startswith(
        "all connections to the database are used: "
    )


def test_the_version_is_the_packages(client: httpx.Client) -> None:
    assert client.get("/version").json() == {"version": version("trainshed")}


def test_the_metrics_are_of_jobs_and_requests(client: httpx.Client, database: Database) -> None:
    job_id = submit(database)
    client.get(f"/v1/jobs/{job_id}")

    answer = client.get("/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"trainshed_jobs", "trainshed_jobs_submitted", "trainshed_http_request_seconds"} <= families
    assert str(job_id) not in answer.text


def test_scrapes_that_overlap_are_answered_from_one_reading(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, readings = Event(), Event(), list[int]()

    def read_slowly(*_: object) -> bytes:
        readings.append(len(readings))
        begun.set()
        assert may_end.wait(30)
        return b"reading %d\n" % len(readings)

    async def asking(shared: SharedCall[bytes], read: Callable[[], bytes]) -> bytes:
        asked.append(read)
        return await result(shared, read)

    asked, result = list[Callable[[], bytes]](), SharedCall.result
    monkeypatch.setattr(SharedCall, "result", asking)
    monkeypatch.setattr("api.routes.health.jobs_exposition", read_slowly)
    with ThreadPoolExecutor(8) as threads:
        scrapes = [threads.submit(client.get, "/metrics", timeout=30)]
        assert begun.wait(10)
        scrapes += [threads.submit(client.get, "/metrics", timeout=30) for _ in range(7)]
        wait_until(lambda: len(asked) == 8, "all have asked")
        may_end.set()
        answers = [scrape.result() for scrape in scrapes]
    assert {answer.status_code for answer in answers} == {200}
    assert len(readings) == 1
    assert client.get("/metrics").text.startswith("reading 2\n")
