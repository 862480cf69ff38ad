"""What all lists of the API have in common: pages, limits and cursors."""

from typing import Any

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories, queue_driver, registry

LISTS = {
    "/v1/api-keys",
    "/v1/jobs",
    "/v1/jobs/{job_id}/evaluation/predictions",
    "/v1/jobs/{job_id}/events",
    "/v1/jobs/{job_id}/logs",
    "/v1/jobs/{job_id}/misclassified",
    "/v1/models",
    "/v1/queues",
    "/v1/sweeps",
    "/v1/webhooks",
    "/v1/webhooks/{webhook_id}/deliveries",
    "/v1/workers",
    "/v1/workers/{worker_id}/attempts",
}


@pytest.fixture
def job_id(database: Database) -> str:
    """A job that has succeeded, with two misclassified images of a dataset that needs no network."""
    registry.webhook(database)
    attempt = queue_driver.running(database)
    evaluation = factories.make_evaluation(wrong={1: (1, 4), 2: (2, 4)}, dataset="digits")
    model = factories.make_model(spec=factories.make_spec(dataset="digits"), evaluation=evaluation)
    queue_driver.succeed(database, attempt, model)
    return str(attempt.job_id)


def _get(client: httpx.Client, path: str, job_id: str, **query: Any) -> httpx.Response:
    # the only webhook
    webhook_id = client.get("/v1/webhooks").json()["data"][0]["id"] if "{webhook_id}" in path else None
    names = {"job_id": job_id, "worker_id": "worker-1", "webhook_id": webhook_id}
    return client.get(path.format_map(names), params=query)


def test_every_list_is_a_page(client: httpx.Client) -> None:
    openapi = client.get("/openapi.json").json()
    pages = {
        path
        for path, operations in openapi["paths"].items()
        if "get" in operations and "Page_" in str(operations["get"]["responses"]["200"])
    }
    assert pages == LISTS


@pytest.mark.parametrize("path", sorted(LISTS))
def test_a_page_has_its_items_and_says_whether_there_are_more(
    client: httpx.Client, job_id: str, path: str
) -> None:
    page = _get(client, path, job_id).json()
    assert set(page) == {"data", "next_cursor", "has_more"}
    assert page["has_more"] is False
    assert (page["next_cursor"] is not None) == path.endswith(("/events", "/logs"))


@pytest.mark.parametrize("path", sorted(LISTS))
def test_an_invalid_cursor_is_refused(client: httpx.Client, job_id: str, path: str) -> None:
    for cursor in ("", "x", "1.17", "7", "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f", "a\0"):
        response = _get(client, path, job_id, cursor=cursor)
        assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-cursor"), cursor


@pytest.mark.parametrize("path", sorted(LISTS))
def test_a_cursor_of_another_list_is_refused(
    client: httpx.Client, database: Database, job_id: str, path: str
) -> None:
    queue_driver.succeeded(database)
    for other in ("/v1/models", "/v1/jobs/{job_id}/events"):
        cursor = _get(client, other, job_id, limit=1).json()["next_cursor"]
        response = _get(client, path, job_id, cursor=cursor)
        assert response.status_code == (200 if path == other else 422)


@pytest.mark.parametrize("path", sorted(LISTS))
def test_an_invalid_limit_is_refused(client: httpx.Client, job_id: str, path: str) -> None:
    for limit in (0, 1_001, "many"):
        response = _get(client, path, job_id, limit=limit)
        assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-request"), limit
