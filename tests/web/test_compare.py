"""Jobs side by side, and sweeps: chosen, followed, cancelled."""

import re

from playwright.sync_api import Page, expect

from shared.db.engine import Database
from tests.support import factories, queue_driver
from tests.support.browsing import WatchedPages, is_live, violations


def test_selected_jobs_are_compared_and_followed(pages: WatchedPages, database: Database) -> None:
    page, without = pages.open(), pages.open(java_script_enabled=False)
    queue_driver.succeeded(database, name="first")
    attempt = queue_driver.running(database, name="second", spec=factories.make_spec(learning_rate=0.01))
    page.goto("/jobs")
    for name in ("first", "second"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Compare 2 jobs")).to_be_visible()
    expect(page.get_by_role("row", name="Learning rate")).to_contain_text("0.01")
    assert violations(page) == []
    is_live(page)
    without.goto(page.url)
    expect(without.locator("figure polyline")).to_have_count(4)
    charts, legend = page.locator("figure .plot"), page.locator(".legend:visible button")
    expect(legend).to_have_text(["second", "first"])
    expect(charts.first).to_have_attribute("aria-label", re.compile("first: .* 3 points.$"))
    queue_driver.record(database, attempt, 2)
    both = re.compile("second: .* 2 points; first: .* 3 points.$")
    expect(charts.first).to_have_attribute("aria-label", both)
    expect(page.get_by_role("row", name="Epochs")).to_contain_text("2/3")
    charts.last.hover(position={"x": 150, "y": 60})
    expect(page.locator("figure .readout")).to_have_count(4)
    expect(page.locator("figure .readout").first).to_contain_text("second ")  # the charts share their cursor
    charts.first.focus()
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Show all")).to_have_count(4)
    page.get_by_role("button", name="Show all").first.click()
    legend.first.click()
    expect(charts.last).to_have_attribute("aria-label", re.compile(r"\. first: [^;]* 3 points.$"))
    assert violations(page) == []


def test_ten_jobs_are_compared_at_every_width(page: Page, database: Database) -> None:
    ids = [queue_driver.succeeded(database, name=f"job {number}")[0] for number in range(10)]
    page.goto(f"/compare?{'&'.join(f'job={job_id}' for job_id in ids)}")
    for width in (320, 390, 1440, 3840):
        page.set_viewport_size({"width": width, "height": 800})
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0, width
    assert violations(page) == []


def test_a_sweep_is_followed_and_cancelled_as_a_whole(pages: WatchedPages, database: Database) -> None:
    page = pages.open()
    _, ids = queue_driver.submit_sweep(database, learning_rate=(0.001, 0.01), batch_size=(32, 64))
    page.goto("/sweeps")
    assert violations(page) == []
    page.locator("tbody .name").click()
    is_live(page)
    for job_id in ids[:2]:
        attempt = queue_driver.claim(database, job_id).attempt
        queue_driver.record(database, attempt, 1)
        queue_driver.succeed(database, attempt, factories.make_model())
    expect(page.locator("polyline")).to_have_count(2)
    assert violations(page) == []
    page.locator("tbody tr").first.get_by_role("link").focus()
    expect(page.locator("polyline.marked")).to_have_count(1)
    page.get_by_role("button", name="Cancel all").click()
    page.get_by_role("button", name="Stop the 2 unfinished jobs").click()
    expect(page.locator(".title-row .badge.cancelled")).to_be_visible()
    expect(page.get_by_text("Cancel all")).to_have_count(0)
