"""The states that people meet: each page says what is the matter and what to do."""

from playwright.sync_api import Page, expect

from shared.db.engine import Database
from shared.schemas import Scope
from tests.support import queue_driver, registry
from tests.support.browsing import AWAY, WatchedPages, is_live, sign_in, violations
from tests.support.web_stack import WebStack


def test_no_worker_every_page_that_waits_for_one_says_how_to_start_it(page: Page, database: Database) -> None:
    job_id = queue_driver.submit(database, queue="night")
    for address in ("/", "/workers", f"/jobs/{job_id}"):
        page.goto(address)
        notice = page.locator(".notice").filter(has_text="is online")
        expect(notice).to_contain_text("trainshed worker")
        assert violations(page) == [], address
    expect(notice).to_contain_text("TRAINSHED_QUEUES=night")

    registry.worker(database, queues=["night"])
    queue_driver.claim(database, job_id)
    expect(notice).to_have_count(0)


def test_an_api_that_is_away_is_said_in_words_until_it_is_back_and_nothing_is_missed(
    pages: WatchedPages, stack: WebStack, database: Database
) -> None:
    page = pages.open(allow=AWAY)
    attempt = queue_driver.running(database)
    page.goto(f"/jobs/{attempt.job_id}")
    is_live(page)
    facts = page.locator(".facts").bounding_box()
    stack.kill()
    expect(page.get_by_role("status")).to_have_text("Reconnecting")
    banner = page.get_by_role("alert").filter(has_text="does not answer")
    expect(banner).to_contain_text("nothing is lost")
    assert page.locator(".facts").bounding_box() == facts  # nothing has jumped
    assert violations(page) == []

    queue_driver.record(database, attempt, 2)
    stack.restart()
    expect(banner).to_be_hidden()
    is_live(page)
    expect(page.locator(".facts")).to_contain_text("2/3")


def test_who_is_signed_out_signs_in_again_and_is_back_where_they_were(
    guarded_pages: WatchedPages, guarded: WebStack
) -> None:
    page = guarded_pages.open(allow=["401"])
    key = guarded.new_key(Scope.READ)
    page.goto("/jobs?q=kept")
    sign_in(page, key)
    is_live(page)
    registry.revoke(guarded.database, registry.key_id(key))

    banner = page.get_by_role("alert").filter(has_text="signed out")
    expect(banner).to_be_visible()
    assert violations(page) == []
    banner.get_by_role("link", name="Sign in again").press("Enter")
    sign_in(page, guarded.new_key(Scope.READ))
    expect(page).to_have_url(f"{guarded.url}/jobs?q=kept")


def test_a_failed_job_says_what_happened_and_what_to_do(page: Page, database: Database) -> None:
    attempt = queue_driver.running(database)
    page.goto(f"/jobs/{attempt.job_id}")
    is_live(page)
    queue_driver.fail(database, attempt, "non_finite_loss", "the loss of epoch 2 is <b>nan</b>")

    why = page.locator("#why")
    expect(why).to_contain_text("The training diverged")
    expect(why).to_contain_text("lower learning rate")
    expect(why).to_contain_text("<b>nan</b>")
    assert violations(page) == []


def test_a_page_that_does_not_exist_finds_jobs(pages: WatchedPages, database: Database) -> None:
    queue_driver.submit(database, name="lost and found")
    page = pages.open(allow=["404"])
    for address in ("/jobs/00000000-0000-7000-8000-000000000000", "/workers/gone", "/nothing/at/all"):
        page.goto(address)
        assert violations(page) == [], address
    page.get_by_role("searchbox").fill("found")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="lost and found")).to_be_visible()
