"""What happens is shown without a reload, and not while the page is hidden or paused."""

from playwright.sync_api import Page, expect

from shared.db.engine import Database
from tests.support import factories, queue_driver
from tests.support.browsing import WatchedPages, is_live


def test_the_overview_shows_a_job_from_its_submission_to_its_end(page: Page, database: Database) -> None:
    page.goto("/")
    is_live(page)
    attempt = queue_driver.running(database, name="the first")
    row = page.get_by_role("row").filter(has_text="the first")
    expect(row).to_contain_text("0/3")
    queue_driver.record(database, attempt, 2)
    expect(row).to_contain_text("2/3")
    queue_driver.succeed(database, attempt, factories.make_model())
    expect(row).to_contain_text("Succeeded")


def test_a_jobs_page_follows_it_and_says_when_it_has_finished(page: Page, database: Database) -> None:
    attempt = queue_driver.running(database)
    page.goto(f"/jobs/{attempt.job_id}")
    is_live(page)
    queue_driver.record(database, attempt, 1)
    expect(page.locator(".facts")).to_contain_text("1/3")
    queue_driver.succeed(database, attempt, factories.make_model())
    expect(page.locator(".title-row .badge")).to_have_text("Succeeded")
    expect(page.get_by_role("status")).to_have_text("Finished")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_who_looks_at_a_job_that_is_deleted_is_told(pages: WatchedPages, database: Database) -> None:
    page = pages.open(allow=["404"])
    job_id = queue_driver.failed(database)
    page.goto(f"/jobs/{job_id}")
    queue_driver.delete(database, job_id)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # as on the return to a tab
    expect(page.get_by_role("alert")).to_contain_text("deleted this job")


def test_a_paused_page_stands_still_and_catches_up(page: Page, database: Database) -> None:
    page.goto("/")
    is_live(page)
    page.locator("#live").click()
    expect(page.get_by_role("status")).to_have_text("Paused")
    queue_driver.submit(database, name="meanwhile")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 300))")
    expect(page.get_by_text("meanwhile")).to_have_count(0)
    page.locator("#live").click()
    expect(page.get_by_text("meanwhile")).to_be_visible()


def test_a_hidden_page_has_no_connection_and_catches_up_when_shown(page: Page, database: Database) -> None:
    page.add_init_script(
        "let hidden = false; Object.defineProperty(document, 'hidden', {get: () => hidden});"
        "window.hide = (value) => { hidden = value; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.goto("/")
    is_live(page)
    page.evaluate("hide(true)")
    queue_driver.submit(database, name="meanwhile")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 300))")
    assert requests == []
    page.evaluate("hide(false)")
    expect(page.get_by_text("meanwhile")).to_be_visible()


def test_rows_keep_their_elements_while_they_are_updated(page: Page, database: Database) -> None:
    attempt = queue_driver.running(database, name="kept")
    page.goto("/")
    is_live(page)
    link = page.get_by_role("link", name="kept")
    link.focus()
    page.evaluate("document.activeElement.isTheSame = true")
    queue_driver.submit(database, name="another")
    queue_driver.record(database, attempt, 1)
    expect(page.get_by_text("another")).to_be_visible()
    expect(link).to_be_focused()
    assert page.evaluate("document.activeElement.isTheSame")
