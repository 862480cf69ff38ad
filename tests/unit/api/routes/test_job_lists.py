from typing import Any

import httpx
import pytest

from shared.db import Database
from tests import factories


def _ids(answer: httpx.Response) -> list[str]:
    return [job["id"] for job in answer.raise_for_status().json()["data"]]


def test_jobs_are_listed_page_by_page(client: httpx.Client, database: Database) -> None:
    ids = [str(factories.submitted(database)) for _ in range(3)]
    first = client.get("/v1/jobs", params={"limit": 2})
    assert first.json()["has_more"] is True
    second = client.get("/v1/jobs", params={"limit": 2, "cursor": first.json()["next_cursor"]})
    assert sorted(_ids(first) + _ids(second)) == sorted(ids)
    assert (second.json()["has_more"], second.json()["next_cursor"]) == (False, None)


def test_filters_are_read_from_the_address(client: httpx.Client, database: Database) -> None:
    queued = str(factories.submitted(database, name="Wide", tags=("a",)))
    ended = str(factories.failed(database))
    params = {"state": ["queued", "failed"]}
    assert set(_ids(client.get("/v1/jobs", params=params))) == {queued, ended}
    assert _ids(client.get("/v1/jobs?state=queued&tag=a&q=wide&kind=train")) == [queued]
    assert _ids(client.get("/v1/jobs?worker=worker-1")) == [ended]
    assert _ids(client.get("/v1/jobs?created_before=2000-01-01T00:00:00Z")) == []


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"stat": "queued"}, "stat"),
        ({"state": "done"}, "state"),
        ({"sort": "name"}, "sort"),
        ({"limit": 201}, "limit"),
        ({"queue": "NO"}, "queue"),
        ({"tag": "a\nb"}, "tag"),
        ({"q": "\x00"}, "q"),
        ({"created_after": "2026-01-01T00:00:00"}, "created_after"),
        ({"created_after": "1767225600"}, "created_after"),
        ({"created_before": "0.5"}, "created_before"),
        ({"created_after": "2026-01-01"}, "created_after"),
        ({"created_after": "0001-01-01T00:00:00+14:00"}, "created_after"),
    ],
)
def test_what_cannot_be_listed_is_named(client: httpx.Client, params: dict[str, Any], parameter: str) -> None:
    answer = client.get("/v1/jobs", params=params)
    assert answer.status_code == 422
    assert [error["parameter"] for error in answer.json()["errors"]] == [parameter]


def test_a_cursor_of_another_order_is_refused(client: httpx.Client, database: Database) -> None:
    for _ in range(2):
        factories.submitted(database)
    cursor = client.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]
    answer = client.get("/v1/jobs", params={"cursor": cursor, "sort": "duration"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-cursor")
    assert "-created_at" in answer.json()["detail"]


def test_jobs_are_counted(client: httpx.Client, database: Database) -> None:
    factories.submitted(database)
    factories.failed(database, queue="gpu")
    counts = client.get("/v1/jobs/counts").json()
    assert (counts["total"], counts["states"]["queued"], counts["queues"]["gpu"]["failed"]) == (2, 1, 1)
