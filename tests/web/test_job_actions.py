"""The actions of a job's page, with and without JavaScript."""

import pytest
from playwright.sync_api import expect

from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.store import job_queries
from tests.support import factories
from tests.support.browsing import WatchedPages


@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without"])
def test_a_job_is_cancelled_retried_cloned_and_deleted_from_its_page(
    pages: WatchedPages, database: Database, has_scripts: bool
) -> None:
    page = pages.open(java_script_enabled=has_scripts)
    job_id = factories.submitted(database, name="original")
    page.goto(f"/jobs/{job_id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".title-row .badge")).to_have_text("Cancelled")
    assert database.read(lambda session: job_queries.state(session, job_id)) is JobState.CANCELLED

    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".title-row .badge")).to_have_text("Queued")
    assert str(job_id) not in page.url
    page.get_by_role("link", name="Clone").click()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="original")).to_be_visible()

    page.goto(f"/jobs/{job_id}")
    page.locator("summary", has_text="Delete").click()
    page.locator("form button", has_text="Delete").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="original")).to_have_count(2)
