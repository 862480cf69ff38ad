"""The actions of a job's page, with and without JavaScript."""

from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from shared.lifecycle import JobState
from tests.support import queue_driver, stored
from tests.support.browsing import WatchedPages, is_live, violations


@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without"])
def test_a_job_is_cancelled_retried_cloned_and_deleted_from_its_page(
    pages: WatchedPages, database: Database, has_scripts: bool
) -> None:
    page = pages.open(java_script_enabled=has_scripts)
    job_id = queue_driver.submit(database, name="original")
    page.goto(f"/jobs/{job_id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".title-row .badge")).to_have_text("Cancelled")
    assert stored.state(database, job_id) is JobState.CANCELLED

    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".title-row .badge")).to_have_text("Queued")
    assert str(job_id) not in page.url
    page.get_by_role("link", name="Clone").click()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="original")).to_be_visible()

    page.goto(f"/jobs/{job_id}")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete the job").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="original")).to_have_count(2)


def test_a_queued_job_is_edited_by_keyboard_while_its_page_is_live(page: Page, database: Database) -> None:
    queue_driver.submit(database, name="first")
    second = queue_driver.submit(database, name="second")
    page.goto(f"/jobs/{second}")
    is_live(page)
    expect(page.locator(".facts")).to_contain_text("2")
    page.get_by_role("button", name="Edit").press("Enter")
    name = page.get_by_label("Name", exact=True)
    name.fill("goes first")
    queue_driver.edit(database, second, tags=["from elsewhere"])
    expect(page.locator(".title-row .tag")).to_have_text("from elsewhere")
    expect(name).to_have_value("goes first")  # what is being typed stays
    expect(name).to_be_focused()
    page.get_by_label("Priority").select_option("high")
    assert violations(page) == []
    name.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("goes first")
    job = stored.detail(database, second)
    assert (job.name, job.tags, job.priority) == ("goes first", ("from elsewhere",), "high")
    assert job.queue_position == 1


def test_a_refused_edit_is_open_again_with_what_was_entered(pages: WatchedPages, database: Database) -> None:
    page = pages.open(allow=["422"])
    page.goto(f"/jobs/{queue_driver.submit(database)}")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Queue", exact=True).fill("Night Shift")
    page.get_by_role("button", name="Save").click()
    field = page.get_by_label("Queue", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("Night Shift")
    assert violations(page) == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_what_an_action_asks_is_within_the_window_and_closes_by_escape_or_a_click_outside(
    pages: WatchedPages, database: Database, width: int
) -> None:
    page = pages.open(viewport={"width": width, "height": 900})
    page.goto(f"/jobs/{queue_driver.failed(database, name='a name')}")
    for name in ("Edit", "Delete"):
        page.get_by_role("button", name=name, exact=True).click()
        box = page.get_by_role("dialog").bounding_box()
        assert box is not None
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("button", name=name, exact=True).click()
        page.mouse.click(5, 5)
        expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without"])
def test_a_running_job_is_stopped_by_the_answer_that_says_so_only(
    pages: WatchedPages, database: Database, has_scripts: bool
) -> None:
    page = pages.open(java_script_enabled=has_scripts)
    job_id = queue_driver.running(database).job_id
    page.goto(f"/jobs/{job_id}")
    dialog, cancel = page.get_by_role("dialog"), page.get_by_role("button", name="Cancel", exact=True)
    close: list[Callable[[], None]] = [
        lambda: page.keyboard.press("Escape"),
        lambda: page.mouse.click(5, 5),
        lambda: page.get_by_role("button", name="Keep it running").click(),
        lambda: page.keyboard.press("Enter"),  # the safe answer has the focus
    ]
    for each in close:
        cancel.click()
        expect(dialog).to_have_count(1)
        each()
        expect(dialog).to_have_count(0)
        assert not cancel_requested(database, job_id)

    cancel.click()
    page.get_by_role("button", name="Stop the job").click()
    expect(page.locator(".facts")).to_contain_text("Being cancelled")
    assert cancel_requested(database, job_id)


def cancel_requested(database: Database, job_id: UUID) -> bool:
    return stored.detail(database, job_id).cancel_requested_at is not None


def test_one_dialog_is_open_at_a_time(page: Page, database: Database) -> None:
    page.goto(f"/jobs/{queue_driver.failed(database)}")
    for name in ("Edit", "Delete"):
        page.get_by_role("button", name=name, exact=True).focus()
        page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(1)
    expect(page.get_by_role("dialog", name="Delete this job?")).to_be_visible()
    assert violations(page) == []
