"""The chart stays smooth with long histories; tests/web/test_training.py has what people do with it."""

from typing import Any

from playwright.sync_api import Page, expect

from api.web.static import static_files
from tests.support.frame_times import traced
from tests.support.paths import ROOT

HISTORY = 100_000
LONGEST_FRAME_MS = 50
LIVE_MS = 3_000  # `python -m bench.frames` takes 30 s


def open_chart(page: Page, **options: Any) -> None:
    page.goto("/jobs")
    page.evaluate((ROOT / "tests/support/charts.js").read_text())
    folder = static_files().address("chart.js").removesuffix("/chart.js")
    page.evaluate("(options) => openChart(options)", {"folder": folder, **options})
    expect(page.locator(".plot")).to_have_attribute("aria-label", f"Loss. {summary(page)}")


def summary(page: Page) -> str:
    text: str = page.evaluate("chart.summary()")
    return text.removeprefix("Loss. ")


def test_no_frame_takes_50_ms_with_100_000_points_in_each_of_five_growing_curves(page: Page) -> None:
    open_chart(page, points=HISTORY, curves=5)
    with traced(page) as thread:
        drawn = page.evaluate(f"runLive({LIVE_MS})")

    assert page.evaluate("lines[4].series.last") > HISTORY
    assert drawn >= 3  # the machine may be busy
    assert max(thread.cpu_ms) < LONGEST_FRAME_MS
