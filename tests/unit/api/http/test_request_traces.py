"""Spans of requests: which requests have one, what it is named after, and what it shows."""

from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from api.app import create_app
from shared import tracing
from shared.db.engine import Database
from shared.settings import Settings
from tests.support.queue_driver import succeeded
from tests.support.servers import running_app
from tests.support.trace_collector import Collector


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A database of the test's own: one of them damages it."""
    return sqlite_url


@pytest.fixture
def traced(traces: Collector, settings: Settings, database_url: str) -> Iterator[httpx.Client]:  # noqa: ARG001
    """A client of an API that exports its spans."""
    own = settings.model_copy(
        update={"database_url": database_url, "api_keys": (SecretStr("a-key-of-the-settings"),)}
    )
    with running_app(create_app(own)) as client:
        client.headers["Authorization"] = "Bearer a-key-of-the-settings"
        yield client


def test_a_request_is_named_after_its_route(
    traced: httpx.Client, traces: Collector, database: Database
) -> None:
    job_id, _ = succeeded(database)
    parent = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    # the second one is answered from kept bytes, in front of FastAPI
    answers = [traced.get(f"/v1/jobs/{job_id}", headers=parent) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert traced.get(f"/v1/jobs/{UUID(int=1)}").status_code == 404
    assert traced.get("/nowhere").status_code == 404
    tracing.stop()

    spans = traces.named("GET /v1/jobs/{job_id}")
    assert [span.attributes["http.route"] for span in spans] == ["/v1/jobs/{job_id}"] * 3
    assert [span.attributes["http.response.status_code"] for span in spans] == [200, 200, 404]
    assert [span.parent_id for span in spans] == ["00f067aa0ba902b7", "00f067aa0ba902b7", ""]
    assert not any(span.failed for span in spans)  # a client's error is none of the server's
    assert "a-key" not in str(traces.spans)


def test_probes_and_files_of_the_pages_have_no_span(traced: httpx.Client, traces: Collector) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/static/0/none.css"):
        traced.get(path)
    traced.get("/v1/queues")
    tracing.stop()
    assert [span.name for span in traces.spans] == ["GET /v1/queues"]


def test_an_error_of_the_server_is_one_of_the_span(
    traced: httpx.Client, traces: Collector, database: Database
) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO missing")
    assert traced.get("/v1/jobs").status_code == 500
    tracing.stop()
    span = traces.wait_for("GET /v1/jobs")
    assert (span.failed, span.attributes["http.response.status_code"]) == (True, 500)


def test_the_end_of_the_api_sends_the_last_spans(
    traces: Collector, settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing.stop()
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    with running_app(create_app(settings.model_copy(update={"database_url": database_url}))) as client:
        client.get("/v1/queues")
        assert traces.spans == []
    assert [(span.name, span.service) for span in traces.spans] == [("GET /v1/queues", "trainshed-api")]
    assert not tracing.are_on()
