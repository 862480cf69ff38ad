"""`trainshed logs`, against a real API."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner, Result

from shared.db.engine import Database
from shared.schemas import LogLevel
from tests.support import queue_driver
from tests.support.factories import make_line
from tests.support.queue_driver import AttemptId, running
from trainshed.cli.main import app
from trainshed.client import Client


@pytest.fixture
def attempt(database: Database) -> AttemptId:
    """An attempt that has logged an info and a warning."""
    attempt = running(database)
    log(database, attempt, 1, "attempt started")
    log(database, attempt, 2, "it \x1b[31mcreaks", LogLevel.WARNING)
    return attempt


def log(
    database: Database, attempt: AttemptId, number: int, message: str, level: LogLevel = LogLevel.INFO
) -> None:
    fields = {"epoch": number, "loss": 1 / 3}
    line = make_line(number, at=datetime.now(UTC), level=level, message=message, fields=fields)
    queue_driver.log(database, attempt, [line])


def run(url: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["logs", *map(str, arguments), "--url", url])


def test_a_log_is_shown_without_control_characters(url: str, attempt: AttemptId) -> None:
    first, second = run(url, attempt.job_id).stdout.splitlines()
    assert datetime.now().astimezone().strftime("%Y-%m-%d") in first
    assert first.split()[2] == datetime.now().astimezone().tzname()
    assert first.endswith("info     attempt started epoch=1 loss=0.3333")
    assert second.endswith("warning  it ?[31mcreaks epoch=2 loss=0.3333")


def test_a_long_line_of_a_log_stays_whole(url: str, attempt: AttemptId, database: Database) -> None:
    log(database, attempt, 3, "long " * 50)
    assert len(run(url, attempt.job_id).stdout.splitlines()) == 3


def test_a_log_without_a_line_says_where_phases_and_epochs_are(url: str, database: Database) -> None:
    job_id = queue_driver.submit(database)
    shown = run(url, job_id)
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert f"`trainshed events {str(job_id)[-8:]}`" in shown.stderr


def test_a_log_is_filtered(url: str, attempt: AttemptId) -> None:
    for arguments in (("--level", "warning"), ("--grep", "CREAKS")):
        assert len(run(url, attempt.job_id, *arguments).stdout.splitlines()) == 1


def test_a_log_is_one_json_document(url: str, attempt: AttemptId) -> None:
    lines = json.loads(run(url, attempt.job_id, "--json").stdout)
    assert [line["message"] for line in lines] == ["attempt started", "it \x1b[31mcreaks"]


def test_a_log_is_followed_to_its_last_line_after_the_jobs_end(
    url: str, attempt: AttemptId, database: Database
) -> None:
    pauses = 0

    def go_on(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 2:
            queue_driver.release(database, attempt)
            queue_driver.cancel(database, attempt.job_id)
        if pauses == 3:
            log(database, attempt, 3, "the last line")

    with Client(url, sleep=go_on) as server:
        followed = [line.message for line in server.logs(attempt.job_id, follow=True)]
    assert followed[-1] == "the last line"
    assert len(followed) == 3


def test_a_followed_log_is_one_json_document_per_line(
    url: str, attempt: AttemptId, database: Database
) -> None:
    queue_driver.release(database, attempt)
    queue_driver.cancel(database, attempt.job_id)
    lines = run(url, attempt.job_id, "--follow", "--json").stdout.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["attempt started", "it \x1b[31mcreaks"]
