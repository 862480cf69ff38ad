"""Curves stay smooth with long histories; tests/web/test_training.py has what people do with them."""

from collections import Counter
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from api.web.static import static_files
from shared.db.engine import Database
from tests.support import factories, queue_driver
from tests.support.frame_times import traced
from tests.support.paths import ROOT
from tests.support.queue_driver import AttemptId

HISTORY = 100_000
LONGEST_FRAME_MS = 50
LIVE_MS = 3_000  # `python -m bench.frames` takes 30 s


def open_chart(page: Page, **options: Any) -> None:
    page.goto("/jobs")
    page.evaluate((ROOT / "tests/support/charts.js").read_text())
    folder = static_files().address("chart.js").removesuffix("/chart.js")
    page.evaluate("(options) => openChart(options)", {"folder": folder, **options})
    expect(page.locator(".plot")).to_have_attribute("aria-label", f"Loss. {summary(page)}")


def test_a_curve_of_a_million_points_keeps_its_past_evenly(page: Page) -> None:
    open_chart(page, points=1_000_000)
    points = page.evaluate(
        "() => { const { series } = lines[0];"
        " return Array.from({ length: series.length }, (_, i) => ({ x: series.x[i], y: series.y[i] })); }"
    )

    assert points[0] == {"x": 0, "y": pytest.approx(2.0)}
    assert points[-1]["x"] == 999_999
    in_tenths = Counter(point["x"] // 100_000 for point in points)
    assert len(in_tenths) == 10
    assert min(in_tenths.values()) > 300
    assert max(in_tenths.values()) <= 1.02 * min(in_tenths.values())


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


def test_no_frame_of_a_page_with_five_live_jobs_of_20_000_steps_takes_50_ms(
    page: Page, database: Database
) -> None:
    spec = factories.make_spec(epochs=100, train_size=2_000, batch_size=1)
    jobs = [queue_driver.running(database, spec=spec) for _ in range(5)]
    for attempt in jobs:
        progress = factories.make_progress(*(long_epoch(epoch) for epoch in range(10)))
        queue_driver.record_progress(database, attempt, progress)
    own, *others = jobs
    page.goto(f"/jobs/{own.job_id}?with={','.join(str(other.job_id) for other in others)}")
    have_epochs(page, 10)
    with traced(page) as thread:
        for epoch in range(10, 13):
            for attempt in jobs:
                record(database, attempt, epoch)
            have_epochs(page, epoch + 1)
    assert max(thread.cpu_ms) < LONGEST_FRAME_MS


def long_epoch(epoch: int) -> Any:
    values = tuple((step * 7919 % 1_000) / 1_000 for step in range(2_000))
    return factories.make_epoch(epoch, steps={"loss": values, "accuracy": values})


def record(database: Database, attempt: AttemptId, epoch: int) -> None:
    queue_driver.record_progress(database, attempt, factories.make_progress(long_epoch(epoch)))


def have_epochs(page: Page, count: int) -> None:
    page.wait_for_function(
        "(count) => document.querySelector('#curves').curves"
        ".every((job) => job.last('step') === 2000 * count - 1)",
        arg=count,
    )
