"""Every page: no error, accessible in both themes, the same facts without JavaScript, no injection."""

from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from tests.support import factories
from tests.support.browsing import WatchedPages, is_live, violations

MARKUP = "<b>bold</b><script>alert(1)</script>\"'&"


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A running job among jobs in every state, with two workers."""
    factories.one_of_each_state(database)
    factories.worker(database)
    factories.worker(database, id="gpu:7", devices=["a GPU"], slots=2)
    attempt = factories.running(database, name=MARKUP, tags=[MARKUP[:60]])
    factories.record(database, attempt, 2)
    return attempt.job_id


def addresses(job_id: UUID) -> list[str]:
    """The address of every page."""
    tabs = ("input", "model", "training", "evaluation", "timeline", "logs", "config")
    return [
        "/",
        "/jobs",
        "/jobs?q=nothing-has-this-name",
        "/jobs/new",
        "/jobs/new?kind=evaluate&evaluation_size=0",
        "/compare",
        "/sweeps",
        "/models",
        "/sign-in",
        "/workers",
        "/workers/worker-1",
        "/settings",
        *(f"/jobs/{job_id}?tab={tab}" for tab in tabs),
    ]


def test_every_page_is_accessible_in_both_themes_and_has_no_error(page: Page, job_id: UUID) -> None:
    for address in addresses(job_id):
        page.goto(address)
        assert violations(page) == [], address


def test_an_empty_system_says_how_to_start(page: Page) -> None:
    page.goto("/")

    commands = page.locator(".commands code").all_inner_texts()
    assert commands == ["trainshed up", "trainshed train", "trainshed open last"]
    assert violations(page) == []
    page.goto("/jobs")
    expect(page.get_by_text("No jobs yet")).to_be_visible()
    assert violations(page) == []


def test_no_page_is_wider_than_the_window(page: Page, job_id: UUID) -> None:
    for address in addresses(job_id):
        page.goto(address)
        for width in (320, 390, 1440, 3840):
            page.set_viewport_size({"width": width, "height": 800})
            root = "document.documentElement"
            assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0, (address, width)


def test_without_javascript_the_pages_show_the_same_facts(pages: WatchedPages, job_id: UUID) -> None:
    with_scripts, without = pages.open(), pages.open(java_script_enabled=False)
    for address in addresses(job_id):
        with_scripts.goto(address)
        without.goto(address)
        assert facts(without) == facts(with_scripts), address


def facts(page: Page) -> list[str]:
    """What the content says, apart from the times, which go on."""
    cells = page.locator("main :is(h1, h2, th, td, dt, dd, p):not(:has(time))").all_inner_texts()
    return [" ".join(cell.split()) for cell in cells]


def test_markup_in_names_and_tags_is_shown_as_text(page: Page, job_id: UUID) -> None:
    for address in ("/", "/jobs", f"/jobs/{job_id}"):
        page.goto(address)
        assert MARKUP in page.locator("main").inner_text(), address
        assert page.locator("main b, main script").count() == 0
    assert page.locator(".tag").first.inner_text() == MARKUP[:60]


def test_a_page_that_does_not_exist_says_where_to_go(pages: WatchedPages) -> None:
    page = pages.open(allow=["404"])
    for address in ("/nothing", "/jobs/00000000-0000-7000-8000-000000000000"):
        page.goto(address)
        expect(page.get_by_role("main").get_by_role("link", name="Overview")).to_be_visible()
    assert violations(page) == []
    assert "deleted" in page.locator("main").inner_text()


def test_a_chosen_theme_is_there_before_the_first_paint(pages: WatchedPages) -> None:
    for has_scripts in (True, False):
        page = pages.open(color_scheme="light", java_script_enabled=has_scripts)
        page.goto("/jobs")
        page.get_by_role("button", name="Dark theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        response = page.goto("/")
        assert response is not None
        assert 'data-theme="dark"' in response.text()  # rendered by the server, so no script is awaited
        page.get_by_role("button", name="System theme").click()
        expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")


def test_the_keyboard_reaches_the_content_first(page: Page) -> None:
    page.goto("/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_a_page_without_charts_weighs_less_than_60_kb(page: Page, job_id: UUID) -> None:
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    page.goto(f"/jobs/{job_id}")
    is_live(page)
    page.goto("/")
    is_live(page)
    assert len(sizes) > 5
    assert sum(sizes) < 60_000
