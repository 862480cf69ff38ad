"""The tab `logs`: the lines of attempts, filtered."""

import httpx
import pytest

from shared.db.engine import Database
from shared.schemas import LogLevel
from tests.support import queue_driver
from tests.support.factories import make_line
from tests.support.queue_driver import AttemptId


@pytest.fixture
def attempt(database: Database) -> AttemptId:
    """The second attempt of a job; the first has logged 600 lines, the second a warning."""
    first = queue_driver.running(database)
    queue_driver.release(database, first)
    second = queue_driver.claim(database, first.job_id).attempt
    queue_driver.log(database, first, [make_line(number) for number in range(1, 601)])
    queue_driver.log(database, second, [make_line(level=LogLevel.WARNING, message="the last one")])
    return second


def shown(client: httpx.Client, attempt: AttemptId, query: str = "") -> int:
    """The number of lines that the tab shows."""
    answer = client.get(f"/jobs/{attempt.job_id}?tab=logs{query}")
    assert answer.status_code == 200
    return answer.text.count('data-format="clock"')


def test_the_newest_lines_are_shown_or_all(client: httpx.Client, attempt: AttemptId) -> None:
    html = client.get(f"/jobs/{attempt.job_id}?tab=logs").text
    assert "The newest 500 of 601 lines" in html
    assert "03:04:05.678" in html
    assert shown(client, attempt) == 500
    assert shown(client, attempt, "&all=1") == 601


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("&attempt=1&level=warning", 0),
        ("&attempt=2", 1),
        ("&level=warning", 1),
        ("&q=LINE 60", 2),
        ("&attempt=x&level=y", 500),
        ("&attempt=99999999999999999999", 500),
        ("&part=live", 0),
    ],
)
def test_lines_are_filtered_and_what_is_no_filter_is_ignored(
    client: httpx.Client, attempt: AttemptId, query: str, lines: int
) -> None:
    assert shown(client, attempt, query) == lines


def test_the_whole_log_is_a_download(client: httpx.Client, attempt: AttemptId) -> None:
    answer = client.get(f"/jobs/{attempt.job_id}/log.txt")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.text.count("\n") == 601
