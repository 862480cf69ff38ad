"""A job's timeline, its log and its configuration, as they are read, filtered, followed and copied."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from shared.lifecycle import Phase
from shared.schemas import LogLevel
from tests.support import factories, queue_driver
from tests.support.browsing import is_live, violations
from tests.support.queue_driver import AttemptId

MARKUP = "<img src=x onerror=alert(1)>"


def log(database: Database, attempt: AttemptId, number: int, level: LogLevel, message: str) -> None:
    at, fields = datetime.now(UTC), {"file": MARKUP}
    line = factories.make_line(number, at=at, level=level, message=message, fields=fields)
    queue_driver.log(database, attempt, [line])


@pytest.fixture
def resumed(database: Database) -> AttemptId:
    """The second attempt of a job whose first one was released after two epochs."""
    first = queue_driver.running(database, name="resumed")
    queue_driver.record_progress(database, first, factories.make_progress(Phase.TRAINING))
    queue_driver.record(database, first, 2)
    log(database, first, 1, LogLevel.INFO, "the first attempt")
    queue_driver.release(database, first)
    second = queue_driver.claim(database, first.job_id, worker="another worker").attempt
    log(database, second, 1, LogLevel.ERROR, f"the second attempt {MARKUP}")
    return second


def test_the_timeline_shows_attempts_and_where_they_resumed_and_grows(
    page: Page, database: Database, resumed: AttemptId
) -> None:
    page.goto(f"/jobs/{resumed.job_id}?tab=timeline")
    is_live(page)
    lanes = page.locator(".lane")
    expect(lanes.nth(1)).to_contain_text("Attempt 1")
    expect(lanes.nth(1)).to_contain_text("epochs 1 to 2 recorded")
    expect(lanes.nth(2)).to_contain_text("resumed after epoch 2")
    expect(lanes.nth(1).locator(".training title")).to_have_text(re.compile(r"Training: .* UTC"))
    queue_driver.record_progress(database, resumed, factories.make_progress(Phase.TRAINING))
    queue_driver.record(database, resumed, 1, first=2)
    expect(lanes.nth(2)).to_contain_text("epoch 3 recorded")
    queue_driver.succeed(database, resumed, factories.make_model())
    events = page.get_by_label("Events of the job").get_by_role("row")
    expect(events.last).to_contain_text("Succeeded")
    assert violations(page) == []


def test_the_log_is_filtered_followed_and_downloaded(
    page: Page, database: Database, resumed: AttemptId
) -> None:
    page.goto(f"/jobs/{resumed.job_id}?tab=logs")
    lines = page.locator("#log li")
    expect(lines).to_have_count(2)
    log(database, resumed, 2, LogLevel.WARNING, "a new line")
    expect(lines.nth(2)).to_contain_text("a new line")
    expect(lines.nth(2)).to_contain_text(f"file={MARKUP}")
    assert violations(page) == []
    assert page.locator("#log img").count() == 0

    page.get_by_label("Attempt").select_option("2")
    page.get_by_label("Level").select_option("error")
    page.get_by_role("button", name="Filter").click()
    expect(lines).to_have_count(1)
    log(database, resumed, 3, LogLevel.INFO, "not this one")
    log(database, resumed, 4, LogLevel.ERROR, "but this one")
    expect(lines.nth(1)).to_contain_text("but this one")
    page.get_by_label("Message contains").fill("SECOND")
    page.keyboard.press("Enter")
    expect(lines).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all").click()
    assert download.value.path().read_text().count("\n") == 5


def test_the_configuration_is_copied_as_a_command(page: Page, database: Database) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    job_id = queue_driver.submit(database, name="it's", tags=["a b"])
    page.goto(f"/jobs/{job_id}?tab=config")
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("trainshed train --train-size 100")
    assert """--name 'it'"'"'s' --tag 'a b'""" in command
    assert violations(page) == []
