"""The pages of workers and queues: live, by keyboard, with what each scope may do."""

from datetime import timedelta

from playwright.sync_api import Page, expect
from sqlalchemy import update

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.tables import Worker
from shared.lifecycle import WorkerState
from shared.schemas import Scope
from shared.store import queues, workers
from tests.support import factories
from tests.support.browsing import WatchedPages, is_live, sign_in, violations
from tests.support.web_stack import WebStack

SILENT_S = timedelta(minutes=58).total_seconds()


def test_workers_and_queues_are_accessible_and_live(page: Page, database: Database) -> None:
    factories.worker(database, devices=["a GPU"], slots=2)
    page.goto("/workers")
    is_live(page)
    row = page.get_by_role("row").filter(has_text="a GPU")
    expect(row).to_contain_text("0 of 2")

    factories.running(database, name="has just begun")
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
    name = factories.worker(database)
    page.goto("/workers")
    page.clock.run_for(1_000)
    is_live(page)
    silent = update(Worker).where(Worker.id == name).values(heartbeat_at=database_now(-SILENT_S))
    database.write(lambda session: session.execute(silent))

    page.clock.run_for(5_000)

    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text("Lost")
    expect(row).to_contain_text("58 min ago")
    expect(page.get_by_text("No worker is online")).to_be_visible()


def test_a_worker_is_drained_and_a_queue_is_paused_by_keyboard(page: Page, database: Database) -> None:
    name = factories.worker(database)
    page.goto("/workers")
    page.get_by_role("button", name="Drain").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("Draining")
    assert database.read(lambda session: workers.get(session, name)).state is WorkerState.DRAINING
    page.get_by_role("button", name="Undrain").press("Enter")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("Online")

    page.get_by_role("button", name="Pause", exact=True).press("Enter")
    expect(page.get_by_role("row").filter(has_text="default").last).to_contain_text("Paused")
    assert database.read(lambda session: queues.get(session, "default")).paused
    page.get_by_role("button", name="Resume").press("Enter")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()


def test_only_administrators_are_offered_to_drain_and_pause(
    guarded_pages: WatchedPages, guarded: WebStack
) -> None:
    factories.worker(guarded.database, id="offered:1")
    for scope, offers in ((Scope.SUBMIT, 0), (Scope.ADMIN, 1)):
        page = guarded_pages.open()
        page.goto("/workers")
        sign_in(page, guarded.new_key(scope))
        expect(page.get_by_role("heading", name="Queues", exact=True)).to_be_visible()
        row = page.get_by_role("row").filter(has_text="offered:1")
        expect(row.get_by_role("button", name="Drain")).to_have_count(offers)
