"""HEAD is answered like GET, without a body."""

import httpx
import pytest

from shared.db.engine import Database
from tests.support import queue_driver


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/{}", "/readyz", "/openapi.json", "/static/theme.js"])
def test_head_has_the_headers_of_get(path: str, client: httpx.Client, database: Database) -> None:
    path = path.format(queue_driver.succeeded(database)[0])
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for name in ("content-type", "content-length", "etag"):
        assert head.headers.get(name) == got.headers.get(name)


def test_head_of_what_does_not_exist_is_404(client: httpx.Client) -> None:
    assert client.head("/v1/nothing").status_code == 404


def test_head_of_an_operation_that_changes_something_is_refused(client: httpx.Client) -> None:
    assert client.head("/v1/queues/default/pause").status_code == 405


def test_head_of_a_stream_ends(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)
    for path in (f"/v1/jobs/{job_id}/stream", "/v1/events/stream", f"/v1/jobs/{job_id}/events?wait=10"):
        assert client.head(path, timeout=15).content == b""


def test_head_is_counted_by_its_route(client: httpx.Client, database: Database) -> None:
    client.head(f"/v1/jobs/{queue_driver.submit(database)}")
    lines = client.get("/metrics").text.splitlines()
    assert any('method="HEAD",route="/v1/jobs/{job_id' in line for line in lines)
