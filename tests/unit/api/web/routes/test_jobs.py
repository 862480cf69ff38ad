"""The list of jobs: filters in the address, and pages."""

import re

import httpx
import pytest

from shared.db.engine import Database
from tests.support import queue_driver


def names(html: str) -> list[str]:
    return re.findall(r'<a class="name" href="[^"]+">([^<]+)</a>', html)


def test_jobs_are_listed_newest_first(client: httpx.Client, database: Database) -> None:
    for name in ("one", "two"):
        queue_driver.submit(database, name=name)

    assert names(client.get("/jobs").text) == ["two", "one"]


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("state=failed", ["c"]),
        ("state=failed&state=queued", ["c", "b", "a"]),
        ("queue=night", ["b"]),
        ("tag=x", ["a"]),
        ("q=C&kind=train", ["c"]),
        ("sort=created_at", ["a", "b", "c"]),
    ],
)
def test_the_address_filters_and_orders(
    client: httpx.Client, database: Database, query: str, listed: list[str]
) -> None:
    queue_driver.submit(database, name="a", tags=["x"])
    queue_driver.submit(database, name="b", queue="night")
    queue_driver.failed(database, name="c", queue="other")

    assert names(client.get(f"/jobs?{query}").text) == listed


def test_pages_follow_each_other_with_the_same_filters(client: httpx.Client, database: Database) -> None:
    for number in range(5):
        queue_driver.submit(database, name=f"job {number}")
    html, listed = client.get("/jobs?q=job&limit=2").text, []
    for _ in range(3):
        listed += names(html)
        if link := re.search(r'rel="next" href="([^"]+)"', html):
            html = client.get(link[1].replace("&amp;", "&")).text

    assert listed == [f"job {number}" for number in (4, 3, 2, 1, 0)]
    assert "last page" in html


def test_empty_fields_of_the_form_leave_the_address(client: httpx.Client) -> None:
    answer = client.get("/jobs?q=&state=&kind=train&tag=")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs?kind=train")


def test_no_match_and_no_job_are_told_apart(client: httpx.Client) -> None:
    assert "No jobs yet" in client.get("/jobs").text
    assert "No job matches" in client.get("/jobs?state=failed").text


@pytest.mark.parametrize("query", ["state=lost", "unknown=1", "limit=1000"])
def test_an_invalid_filter_is_refused(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/jobs?{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0]


def test_rows_of_some_jobs_are_shown_as_they_are_now(client: httpx.Client, database: Database) -> None:
    shown = [queue_driver.submit(database, name=name) for name in ("one", "two")]
    queue_driver.submit(database, name="three")
    missing = "00000000-0000-7000-8000-000000000000"

    html = client.get("/jobs/rows", params={"shown": [*map(str, shown), missing]}).text

    assert names(html) == ["two", "one"]
    assert re.search(r'All <span class="num">3</span>', html)


def test_of_other_jobs_those_are_named_that_match_the_filters(
    client: httpx.Client, database: Database
) -> None:
    wide = queue_driver.submit(database, name="wide", tags=["x"])
    narrow = queue_driver.submit(database, name="narrow", tags=["x"])

    html = client.get("/jobs/rows", params={"q": "wide", "tag": "x", "new": [str(wide), str(narrow)]}).text

    assert f'id="matching" value="{wide}"' in html


def test_no_more_rows_are_asked_for_than_a_page_has(client: httpx.Client) -> None:
    ids = ["00000000-0000-7000-8000-000000000000"] * 201

    assert client.get("/jobs/rows", params={"new": ids}).status_code == 422


@pytest.mark.parametrize(
    ("query", "state", "address"),
    [
        ("", "descending", "sort=created_at"),
        ("?sort=created_at&q=x", "ascending", "q=x&amp;sort=-created_at"),
        ("?sort=-val_accuracy", "", "sort=-created_at"),
    ],
)
def test_the_head_of_a_column_leads_to_the_other_order(
    client: httpx.Client, database: Database, query: str, state: str, address: str
) -> None:
    queue_driver.submit(database, name="x")

    head = re.search(r'<th[^>]*>(?=<a class="sort"[^>]*>Submitted)<a[^>]*>', client.get(f"/jobs{query}").text)

    assert head is not None
    assert (f'aria-sort="{state}"' in head[0]) == bool(state)
    assert f'href="/jobs?{address}"' in head[0]
