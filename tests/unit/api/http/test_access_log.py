"""Each request is a line with its parts as fields; probes that succeed are none."""

import json
import logging
from collections.abc import Iterator
from io import StringIO

import httpx
import pytest

from api.http import access_log
from shared import log
from shared.db.engine import Database
from shared.schemas import Scope
from tests.support import registry
from tests.support.queue_driver import submit

pytestmark = pytest.mark.usefixtures("logging_restored")

LOGGER = "uvicorn.access"


@pytest.fixture
def stream() -> Iterator[StringIO]:
    """What is logged at INFO."""
    logger = logging.getLogger(LOGGER)
    own_level, stream = logger.level, StringIO()
    log.configure("INFO", stream=stream)
    logger.setLevel("INFO")
    yield stream
    logger.setLevel(own_level)


def lines(stream: StringIO) -> list[dict[str, object]]:
    every = map(json.loads, stream.getvalue().splitlines())
    return [line for line in every if line["logger"] == LOGGER]


def logged(stream: StringIO, path: str, status: int) -> list[dict[str, object]]:
    access_log.install()
    arguments = ("127.0.0.1:5", "GET", path, "1.1", status)
    logging.getLogger(LOGGER).info('%s - "%s %s HTTP/%s" %d', *arguments)
    return lines(stream)


def test_the_parts_of_a_request_are_fields(stream: StringIO) -> None:
    access_log.response_begins(0.0123)
    [line] = logged(stream, "/v1/jobs?limit=1", 200)
    assert line["event"] == "GET /v1/jobs?limit=1 200"
    assert (line["client"], line["method"], line["path"], line["status"], line["ms"]) == (
        "127.0.0.1:5",
        "GET",
        "/v1/jobs?limit=1",
        200,
        12.3,
    )


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_are_logged_only_if_they_fail(stream: StringIO, path: str) -> None:
    assert logged(stream, path, 200) == []
    assert len(logged(stream, path, 503)) == 1


def test_other_lines_of_the_logger_are_left_alone(stream: StringIO) -> None:
    access_log.install()
    logging.getLogger(LOGGER).info("it is %s", "something else")
    assert [line["event"] for line in lines(stream)] == ["it is something else"]


def test_installing_it_again_changes_nothing() -> None:
    access_log.install()
    before = list(logging.getLogger(LOGGER).filters)
    access_log.install()
    assert logging.getLogger(LOGGER).filters == before


def test_an_api_logs_its_requests_so(api: httpx.Client, stream: StringIO) -> None:
    api.get("/readyz")
    api.get("/v1/queues")
    [line] = lines(stream)
    assert (line["path"], line["status"]) == ("/v1/queues", 200)
    assert isinstance(line["ms"], float)


def test_a_request_names_its_key_also_where_a_kept_response_answers_it(
    api: httpx.Client, database: Database, stream: StringIO
) -> None:
    job_id = submit(database)
    api.get(f"/v1/jobs/{job_id}")
    key = registry.api_key(database, "Ada", Scope.SUBMIT)
    with_key = {"Authorization": f"Bearer {key}"}
    for _ in range(2):
        api.get(f"/v1/jobs/{job_id}", headers=with_key)
    api.post("/v1/jobs", json={"kind": "train"}, headers=with_key)
    api.get("/v1/jobs", headers={"Authorization": "Bearer wrong"})
    local, *own, unknown = lines(stream)
    assert (local["key"], "key_id" in local) == ("local", False)
    assert [(line["key"], line["key_id"]) for line in own] == [("Ada", str(key.id))] * 3
    assert "key" not in unknown
