"""The API in an outage of the database: reads and writes are answered with 503, and work again after it."""

import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from api import services
from api.app import create_app
from shared.db.engine import Database
from shared.db.outages import MEANINGS
from shared.settings import Settings
from tests.support import queue_driver, registry
from tests.support.injected_errors import OUTAGES, injected
from tests.support.servers import PostgresServer, running_app

_REASONS = {"53100": "full", "53300": "connections", **dict.fromkeys(("25P04", "55P03", "57014"), "locked")}
_REASONS |= {sqlstate: "locked" for sqlstate in OUTAGES if sqlstate.startswith("40")}
_SAID = {str(reason): meaning for reason, meaning in MEANINGS.items()}
_SAVED = {"kind": "train", "spec": {"dataset": "digits"}}


@pytest.fixture
def impatient_api(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    """A client of an API without Redis that tries each transaction twice, and no longer."""
    monkeypatch.setattr(services, "Database", partial(Database, patience_s=0))
    with running_app(create_app(settings.model_copy(update={"database_url": database_url}))) as client:
        client.get("/v1/jobs/counts")  # makes the engine's first connection
        yield client


def _requests(database: Database) -> list[tuple[str, str, Any]]:
    """A request for each operation that reads or writes the database."""
    finished, model = queue_driver.succeeded(database)
    queued, job, other = queue_driver.submit(database), f"/v1/jobs/{finished}", queue_driver.failed(database)
    unknown = UUID(int=1)
    registry.worker(database)
    return [
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/jobs/counts", None),
        ("GET", job, None),
        ("GET", f"{job}/metrics", None),
        ("GET", f"{job}/evaluation", None),
        ("GET", f"{job}/events", None),
        ("GET", f"{job}/stream", None),
        ("GET", f"{job}/logs", None),
        ("GET", "/v1/stream", None),
        ("GET", f"/v1/metrics?jobs={finished}", None),
        ("GET", f"/v1/compare?jobs={finished},{other}", None),
        ("GET", "/v1/models", None),
        ("GET", f"/v1/models/{model.id}", None),
        ("GET", f"/v1/models/{model.id}/download", None),
        ("GET", "/v1/sweeps", None),
        ("GET", f"/v1/sweeps/{unknown}", None),
        ("GET", "/v1/queues", None),
        ("GET", "/v1/autoscaling", None),
        ("GET", "/v1/workers", None),
        ("GET", "/v1/api-keys", None),
        ("GET", "/metrics", None),
        ("POST", "/v1/jobs", _SAVED),
        ("POST", "/v1/jobs", {"kind": "evaluate", "spec": {"model_id": str(model.id)}}),
        ("POST", f"/v1/jobs/{queued}/cancel", None),
        ("POST", f"{job}/retry", None),
        ("POST", f"{job}/clone", {}),
        ("POST", "/v1/jobs/batch", {"action": "retry", "ids": [str(finished)]}),
        ("PATCH", job, {"name": "x"}),
        ("PATCH", f"/v1/models/{model.id}", {"alias": "x"}),
        ("POST", "/v1/sweeps", {"strategy": "grid", "parameters": {"seed": [1]}, **_SAVED}),
        ("POST", f"/v1/sweeps/{unknown}/cancel", None),
        ("POST", "/v1/queues/default/pause", None),
        ("POST", "/v1/queues/default/resume", None),
        ("POST", "/v1/workers/worker-1/drain", None),
        ("POST", "/v1/workers/worker-1/undrain", None),
        ("POST", "/v1/api-keys", {"name": "x", "scope": "admin"}),
        ("DELETE", f"/v1/api-keys/{unknown}", None),
        ("DELETE", f"/v1/models/{model.id}", None),
        ("DELETE", f"/v1/jobs/{other}", None),
    ]


def _assert_unavailable(response: httpx.Response, why: str = "unavailable") -> None:
    assert (response.status_code, response.headers.get("Retry-After")) == (503, "1"), response.request.url
    assert response.json()["type"] == f"/problems/database-{why}"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_each_operation_is_unavailable_in_an_outage_and_available_after_it(
    impatient_api: httpx.Client, database: Database
) -> None:
    requests = _requests(database)
    for method, path, body in requests:
        with injected("57P03"):
            _assert_unavailable(impatient_api.request(method, path, json=body))
    reads = [path for method, path, _ in requests if method == "GET" and not path.endswith("stream")]
    assert {impatient_api.get(path).status_code for path in reads} <= {200, 404}


def _database_check(api: httpx.Client, status: int) -> Any:
    """What `/readyz` says about the database, with this status."""
    answer = api.get("/readyz")
    assert answer.status_code == status
    return answer.json()["checks"]["database"]["detail"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_each_error_of_an_outage_is_answered_with_503_and_shown_by_the_readiness(
    impatient_api: httpx.Client, database: Database
) -> None:
    job = f"/v1/jobs/{queue_driver.failed(database)}"
    for sqlstate in OUTAGES:
        why = _REASONS.get(sqlstate, "unavailable")
        with injected(sqlstate):
            _assert_unavailable(impatient_api.get("/v1/jobs"), why)
            _assert_unavailable(impatient_api.get(job), why)
            _assert_unavailable(impatient_api.patch(job, json={"name": sqlstate}), why)
            _assert_unavailable(impatient_api.post("/v1/jobs", json=_SAVED), why)
            assert _database_check(impatient_api, 503) == _SAID[why]
        assert (
            _database_check(impatient_api, 200) == f"requests failed in the last minute, since {_SAID[why]}"
        )
    assert impatient_api.post("/v1/jobs", json=_SAVED).status_code == 202


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_read_only_postgresql_serves_reads_and_refuses_writes_with_503(
    impatient_api: httpx.Client, database: Database, postgres_server: PostgresServer
) -> None:
    job = f"/v1/jobs/{queue_driver.failed(database)}"
    postgres_server.set_read_only(True)
    try:
        assert impatient_api.get(job).status_code == 200
        _assert_unavailable(impatient_api.post("/v1/jobs", json=_SAVED))
        _assert_unavailable(impatient_api.delete(job))
    finally:
        postgres_server.set_read_only(False)
    assert impatient_api.post("/v1/jobs", json=_SAVED).status_code == 202
    assert impatient_api.delete(job).status_code == 204


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_locked_sqlite_file_serves_reads_and_refuses_writes_with_503(
    impatient_api: httpx.Client, database: Database
) -> None:
    job = f"/v1/jobs/{queue_driver.failed(database)}"
    other = sqlite3.connect(str(database.engine.url.database), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert impatient_api.get(job).status_code == 200
    _assert_unavailable(impatient_api.post("/v1/jobs", json=_SAVED), "locked")
    _assert_unavailable(impatient_api.delete(job), "locked")
    other.close()
    assert impatient_api.post("/v1/jobs", json=_SAVED).status_code == 202
    assert impatient_api.delete(job).status_code == 204


def _batch_results(api: httpx.Client, action: str, *ids: UUID) -> list[tuple[int, str | None]]:
    body = {"action": action, "ids": [str(job_id) for job_id in ids]}
    items = api.post("/v1/jobs/batch", json=body).raise_for_status().json()["data"]
    return [(item["status"], item["problem"] and item["problem"]["type"]) for item in items]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_batch_goes_on_after_a_job_that_meets_an_unexpected_error(
    impatient_api: httpx.Client, database: Database
) -> None:
    failed, queued = queue_driver.failed(database), queue_driver.submit(database)
    with injected("XX000", "DELETE FROM jobs") as injection:
        results = _batch_results(impatient_api, "delete", failed, queued)
    assert results == [(500, "/problems/internal"), (409, "/problems/job-not-finished")]
    assert injection.count == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_batch_says_what_was_done_before_an_outage_and_tries_no_more(
    impatient_api: httpx.Client, database: Database
) -> None:
    queued, *failed = queue_driver.submit(database), *(queue_driver.failed(database) for _ in range(3))
    with injected("57P03", "DELETE FROM jobs") as injection:
        results = _batch_results(impatient_api, "delete", queued, *failed)
    unavailable = (503, "/problems/database-unavailable")
    assert results == [(409, "/problems/job-not-finished"), *[unavailable] * 3]
    assert injection.count == 2, "the first one, and its repetition"
