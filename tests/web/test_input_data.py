"""The tab with the input data: pictures that load, of the dataset and of the job itself, by keyboard."""

from playwright.sync_api import Page, expect

from shared.db.engine import Database
from tests.support import factories, queue_driver
from tests.support.browsing import is_live, violations


def test_examples_and_the_jobs_own_images_are_shown_with_their_labels(page: Page, database: Database) -> None:
    job_id = queue_driver.submit(database, spec=factories.make_spec(dataset="digits"))
    loaded: list[str] = []
    page.on("requestfinished", lambda request: loaded.append(request.url))
    page.goto(f"/jobs/{job_id}?tab=input")
    is_live(page)

    assert page.get_by_role("img", name="Test image").count() == 20
    assert page.get_by_role("img", name="Train image").count() == 60
    assert sum("/v1/datasets/digits/images?split=" in url for url in loaded) == 2  # a strip each
    assert violations(page) == []

    page.get_by_role("link", name="Evaluation").last.press("Enter")
    expect(page.get_by_text("50 of 50, as they were drawn")).to_be_visible()
    before = page.locator(".examples").first.inner_html()
    page.get_by_role("link", name="Others").press("Enter")
    expect(page.locator(".examples").first).not_to_have_text(before)
    expect(page.get_by_text("50 of 50, as they were drawn")).to_be_visible()  # the chosen part is kept
