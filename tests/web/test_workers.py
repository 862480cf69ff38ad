"""The pages of workers and queues: live, by keyboard, with what each scope may do."""

from datetime import timedelta

from playwright.sync_api import Page, expect

from shared.db.engine import Database
from shared.lifecycle import WorkerState
from shared.schemas import Scope
from tests.support import queue_driver, registry, stored
from tests.support.browsing import WatchedPages, is_live, sign_in, violations
from tests.support.web_stack import WebStack

SILENT_S = timedelta(minutes=58).total_seconds()


def test_workers_and_queues_are_accessible_and_live(page: Page, database: Database) -> None:
    registry.worker(database, devices=["a GPU"], slots=2)
    page.goto("/workers")
    is_live(page)
    row = page.get_by_role("row").filter(has_text="a GPU")
    expect(row).to_contain_text("0 of 2")

    queue_driver.running(database, name="has just begun")
    expect(row).to_contain_text("1 of 2")
    expect(row.get_by_role("link", name="has just begun")).to_be_visible()
    assert violations(page) == []
    row.get_by_role("link", name="worker-1").click()
    expect(page.get_by_role("heading", name="worker-1")).to_be_visible()
    assert violations(page) == []


def test_a_worker_that_falls_silent_is_shown_as_lost_without_any_event(
    page: Page, database: Database
) -> None:
    page.clock.install()
    name = registry.worker(database)
    page.goto("/workers")
    page.clock.run_for(1_000)
    is_live(page)
    registry.silence(database, name, SILENT_S)

    page.clock.run_for(5_000)

    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text("Lost")
    expect(row).to_contain_text("58 min ago")
    expect(page.get_by_text("No worker is online")).to_be_visible()


def test_a_worker_is_drained_and_a_queue_is_paused_by_keyboard(page: Page, database: Database) -> None:
    name = registry.worker(database)
    page.goto("/workers")
    page.get_by_role("button", name="Drain").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("Draining")
    assert stored.worker(database, name).state is WorkerState.DRAINING
    page.get_by_role("button", name="Undrain").press("Enter")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("Online")

    page.get_by_role("button", name="Pause", exact=True).press("Enter")
    expect(page.get_by_role("row").filter(has_text="default").last).to_contain_text("Paused")
    assert stored.queue(database, "default").paused
    page.get_by_role("button", name="Resume").press("Enter")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()


def test_a_queue_is_limited_by_keyboard_while_the_page_is_live(page: Page, database: Database) -> None:
    registry.worker(database)
    queue_driver.submit(database, priority="urgent")
    page.goto("/workers")
    is_live(page)
    row = page.get_by_role("table", name="Queues").get_by_role("row").filter(has_text="default")
    expect(row).to_contain_text("1 urgent")
    row.locator("summary").press("Enter")
    field = row.get_by_label("Running at most")
    field.press_sequentially("12")
    queue_driver.submit(database)
    expect(row).to_contain_text("1 normal")
    expect(field).to_have_value("12")  # what is being typed stays
    expect(field).to_be_focused()
    assert violations(page) == []
    page.keyboard.press("Enter")
    expect(row).to_contain_text("0 of 12")
    assert stored.queue(database, "default").max_running == 12


def test_the_queues_fit_into_a_window_of_1280_pixels(page: Page, database: Database) -> None:
    registry.worker(database)
    for priority in ("urgent", "high", "normal", "low"):
        queue_driver.submit(database, priority=priority)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto("/workers")
    for name in ("Workers", "Queues"):
        table = page.get_by_role("group", name=name, exact=True)
        assert table.evaluate("(box) => box.scrollWidth - box.clientWidth") == 0, name


def test_only_administrators_are_offered_to_drain_pause_and_limit(
    guarded_pages: WatchedPages, guarded: WebStack
) -> None:
    registry.worker(guarded.database, id="offered:1")
    for scope, offers in ((Scope.SUBMIT, 0), (Scope.ADMIN, 1)):
        page = guarded_pages.open()
        page.goto("/workers")
        sign_in(page, guarded.new_key(scope))
        expect(page.get_by_role("heading", name="Queues", exact=True)).to_be_visible()
        row = page.get_by_role("row").filter(has_text="offered:1")
        expect(row.get_by_role("button", name="Drain")).to_have_count(offers)
        expect(page.get_by_role("button", name="Pause", exact=True)).to_have_count(offers)
        expect(page.locator("summary", has_text="Limit")).to_have_count(offers)
