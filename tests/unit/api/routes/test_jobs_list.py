"""Lists of jobs over HTTP: pages, filters, orders, counts."""

import math
from typing import Any

import httpx
import pytest

from shared.db.engine import Database
from shared.formats.epochs import EpochMetrics
from tests.support import factories, queue_driver


def _ids(answer: httpx.Response) -> list[str]:
    return [job["id"] for job in answer.raise_for_status().json()["data"]]


def test_jobs_are_listed_newest_first_in_pages(client: httpx.Client, database: Database) -> None:
    newest_first = [str(queue_driver.submit(database)) for _ in range(5)][::-1]

    pages: list[list[str]] = []
    cursor = None
    while not pages or cursor:
        page = client.get("/v1/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        cursor = page["next_cursor"]
        pages.append([job["id"] for job in page["data"]])
        assert page["has_more"] == (cursor is not None)

    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]


def test_a_full_last_page_has_nothing_after_it(client: httpx.Client, database: Database) -> None:
    queue_driver.submit(database)

    page = client.get("/v1/jobs", params={"limit": 1}).json()

    assert (page["has_more"], page["next_cursor"]) == (False, None)


def test_filters_are_query_parameters(client: httpx.Client, database: Database) -> None:
    queued = str(queue_driver.submit(database, name="Wide", tags=("a",)))
    failed = str(queue_driver.failed(database))
    params = {"state": ["queued", "failed"]}
    assert set(_ids(client.get("/v1/jobs", params=params))) == {queued, failed}
    assert _ids(client.get("/v1/jobs?state=queued&tag=a&q=wide&kind=train")) == [queued]
    assert _ids(client.get("/v1/jobs?worker=worker-1")) == [failed]
    assert _ids(client.get("/v1/jobs?created_before=2000-01-01T00:00:00Z")) == []


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"stat": "queued"}, "stat"),
        ({"state": "done"}, "state"),
        ({"sort": "a\nb"}, "sort"),
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"limit": "x"}, "limit"),
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
def test_a_bad_query_is_refused_by_the_name_of_its_parameter(
    client: httpx.Client, params: dict[str, Any], parameter: str
) -> None:
    answer = client.get("/v1/jobs", params=params)
    assert answer.status_code == 422
    assert [error["parameter"] for error in answer.json()["errors"]] == [parameter]


def test_a_cursor_of_another_order_is_refused(client: httpx.Client, database: Database) -> None:
    for _ in range(2):
        queue_driver.submit(database)
    cursor = client.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]
    answer = client.get("/v1/jobs", params={"cursor": cursor, "sort": "duration"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-cursor")
    assert "-created_at" in answer.json()["detail"]


def test_jobs_are_counted(client: httpx.Client, database: Database) -> None:
    queue_driver.submit(database)
    queue_driver.failed(database, queue="gpu")
    counts = client.get("/v1/jobs/counts").json()
    assert (counts["total"], counts["states"]["queued"], counts["queues"]["gpu"]["failed"]) == (2, 1, 1)


def test_jobs_are_sorted_by_any_metric_and_a_misspelt_one_is_answered_with_the_nearest(
    client: httpx.Client, database: Database
) -> None:
    jobs = []
    for r2 in (0.5, 0.9, math.nan):
        attempt = queue_driver.running(database)
        epoch = EpochMetrics.of(0, 0.1, {"val/r2": r2})
        queue_driver.record_progress(database, attempt, factories.make_progress(epoch))
        queue_driver.fail(database, attempt)
        jobs.append({"id": str(attempt.job_id), "values": epoch.values})

    listed: list[Any] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        page = client.get("/v1/jobs", params={"sort": "-val/r2", "limit": 1, **cursor}).json()
        listed += [{name: job[name] for name in ("id", "values")} for job in page["data"]]
        cursor = {"cursor": page["next_cursor"]} if page["has_more"] else None
    refused = client.get("/v1/jobs", params={"sort": "-val/r3"})

    assert listed == [jobs[1], jobs[0], jobs[2]]
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/unknown-metric")
    assert "did you mean `val/r2`?" in refused.json()["detail"]
