from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.schemas import LogLevel
from tests.support import queue_driver
from tests.support.factories import make_line
from tests.support.queue_driver import running

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A job that has logged five lines, the third an error."""
    attempt = running(database)
    levels = [LogLevel.ERROR if number == 3 else LogLevel.INFO for number in range(1, 6)]
    lines = [make_line(n, at=AT, level=level) for n, level in enumerate(levels, 1)]
    queue_driver.log(database, attempt, lines)
    return attempt.job_id


def test_a_log_is_read_line_by_line(client: httpx.Client, job_id: UUID) -> None:
    page = client.get(f"/v1/jobs/{job_id}/logs").json()

    assert [line["message"] for line in page["data"]] == [f"line {number}" for number in range(1, 6)]
    assert page["data"][2] == {
        "cursor": page["data"][2]["cursor"],
        "attempt": 1,
        "at": "2026-01-02T03:04:05.678000Z",
        "level": "error",
        "message": "line 3",
        "fields": {"epoch": 3},
    }
    assert (page["next_cursor"], page["has_more"]) == (page["data"][-1]["cursor"], False)


def test_a_log_is_read_page_by_page(client: httpx.Client, job_id: UUID) -> None:
    pages, query = [], {"limit": 2}
    for _ in range(3):
        page = client.get(f"/v1/jobs/{job_id}/logs", params=query).json()
        pages.append(([line["message"] for line in page["data"]], page["has_more"]))
        query["cursor"] = page["next_cursor"]

    assert pages == [(["line 1", "line 2"], True), (["line 3", "line 4"], True), (["line 5"], False)]
    rest = client.get(f"/v1/jobs/{job_id}/logs", params=query).json()
    assert rest == {"data": [], "next_cursor": query["cursor"], "has_more": False}


def test_an_empty_log_has_a_cursor_with_which_it_is_followed(
    client: httpx.Client, database: Database
) -> None:
    attempt = running(database)
    page = client.get(f"/v1/jobs/{attempt.job_id}/logs").json()
    assert (page["data"], page["has_more"]) == ([], False)

    queue_driver.log(database, attempt, [make_line()])

    page = client.get(f"/v1/jobs/{attempt.job_id}/logs", params={"cursor": page["next_cursor"]}).json()
    assert [line["message"] for line in page["data"]] == ["line 1"]


def test_lines_after_a_line_are_read(client: httpx.Client, job_id: UUID) -> None:
    lines = client.get(f"/v1/jobs/{job_id}/logs").json()["data"]
    later = client.get(f"/v1/jobs/{job_id}/logs", params={"after": lines[2]["cursor"]}).json()["data"]
    assert later == lines[3:]


def test_a_log_is_filtered_by_level_and_text(client: httpx.Client, job_id: UUID) -> None:
    for query in ({"level": "error"}, {"q": "LINE 3"}):
        page = client.get(f"/v1/jobs/{job_id}/logs", params=query).json()
        assert [line["message"] for line in page["data"]] == ["line 3"]


def test_a_log_is_downloaded_as_text(client: httpx.Client, job_id: UUID) -> None:
    answer = client.get(f"/v1/jobs/{job_id}/logs", params={"limit": 1}, headers={"Accept": "text/plain"})

    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="job-{job_id}.log"'
    assert len(answer.text.splitlines()) == 5
    assert answer.text.splitlines()[2] == "2026-01-02T03:04:05.678000Z ERROR    1 line 3 epoch=3"


def test_an_unknown_job_has_no_log(client: httpx.Client) -> None:
    answer = client.get(f"/v1/jobs/{uuid7()}/logs")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/job-not-found")


@pytest.mark.parametrize(
    "query", [{"level": "loud"}, {"after": "5"}, {"after": "-1.0"}, {"limit": 0}, {"q": "a\0"}], ids=str
)
def test_invalid_query_is_refused(client: httpx.Client, job_id: UUID, query: dict[str, str]) -> None:
    assert client.get(f"/v1/jobs/{job_id}/logs", params=query).status_code == 422
