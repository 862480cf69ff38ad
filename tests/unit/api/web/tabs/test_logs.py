"""The tab `logs`: the lines of attempts, filtered."""

from datetime import UTC, datetime

import httpx
import pytest

from shared.db.engine import Database
from shared.schemas import LogLevel
from shared.store import attempts, job_logs
from shared.store.job_logs import Line
from shared.store.transitions import AttemptId
from tests.support import queue_driver


@pytest.fixture
def attempt(database: Database) -> AttemptId:
    """The second attempt of a job; the first has logged 600 lines, the second a warning."""
    first = queue_driver.running(database)
    database.write(lambda session: attempts.release(session, first))
    second = queue_driver.claim(database, first.job_id).attempt
    many = [line(number, LogLevel.INFO, f"line {number}") for number in range(1, 601)]
    warning = [line(1, LogLevel.WARNING, "the last one")]
    database.write(lambda session: job_logs.append(session, {first: many, second: warning}))
    return second


def line(number: int, level: LogLevel, message: str) -> Line:
    return Line(number, datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), level, message, {"n": number})


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
