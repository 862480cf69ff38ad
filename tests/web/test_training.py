"""A job's curves: what the API has, once each, while it trains and whatever is killed meanwhile."""

import re
from uuid import UUID

import httpx
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from tests.support import factories, queue_driver
from tests.support.browsing import AWAY, WatchedPages, is_live, violations
from tests.support.queue_driver import AttemptId
from tests.support.servers import NO_TLS
from tests.support.web_stack import WebStack

POINTS = """(resolution) => Object.fromEntries(
  Object.entries(document.querySelector('#curves').curves[0].series[resolution])
    .map(([name, { x, y, length }]) => [name, Array.from({ length }, (_, i) => [x[i], y[i]])]))"""


def shown(page: Page, resolution: str) -> dict[str, list[list[float]]]:
    """The points that the page's curves have, by metric."""
    points: dict[str, list[list[float]]] = page.evaluate(POINTS, resolution)
    return points


def stored(stack: WebStack, job_id: UUID, resolution: str) -> dict[str, list[list[float]]]:
    """The points that the API has, by metric."""
    url = f"{stack.url}/v1/jobs/{job_id}/metrics"
    answer = httpx.get(url, params={"resolution": resolution}, verify=NO_TLS).raise_for_status()
    return {
        series["name"]: [list(point) for point in zip(series["x"], series["y"], strict=True)]
        for series in answer.json()["series"]
    }


def shows_what_is_stored(page: Page, stack: WebStack, job_id: UUID) -> None:
    for resolution in ("step", "epoch"):
        expected = stored(stack, job_id, resolution)
        last = len(expected["loss"]) - 1
        page.wait_for_function(
            "([resolution, last]) => document.querySelector('#curves').curves[0].last(resolution) === last",
            arg=[resolution, last],
        )
        assert shown(page, resolution) == expected


def open_training(page: Page, attempt: AttemptId, query: str = "") -> list[str]:
    """Open a job's curves; return the addresses of the metrics that the page requests from then on."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"/jobs/{attempt.job_id}{query}")
    is_live(page)
    return requests


def test_curves_grow_within_an_epoch_and_a_resumed_one_is_drawn_again(
    page: Page, stack: WebStack, database: Database
) -> None:
    attempt = queue_driver.running(database, spec=factories.make_spec(train_size=200))  # 4 steps an epoch
    first = factories.make_epoch(0, steps={"loss": [1.0, 0.9, 0.8, 0.7]})
    queue_driver.record_progress(database, attempt, factories.make_progress(first))
    requests = open_training(page, attempt)
    shows_what_is_stored(page, stack, attempt.job_id)
    for losses in ([0.6], [0.6, 0.5, 0.4]):
        begun = factories.make_epoch(1, steps={"loss": losses})
        queue_driver.record_progress(database, attempt, factories.make_progress(running=begun))
        shows_what_is_stored(page, stack, attempt.job_id)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "7")
    starts = [int(url.partition("from=")[2].partition("&")[0]) for url in requests if "=step" in url]
    assert starts == [0, 4, 5]

    queue_driver.expire(database, attempt)
    resumed = queue_driver.claim(database, attempt.job_id, owner="worker-2/1").attempt
    for losses in ([0.61], [0.61, 0.51]):
        begun = factories.make_epoch(1, steps={"loss": losses})
        queue_driver.record_progress(database, resumed, factories.make_progress(running=begun))
        shows_what_is_stored(page, stack, attempt.job_id)


def test_curves_grow_with_the_training_and_each_value_is_fetched_once(
    page: Page, stack: WebStack, database: Database
) -> None:
    attempt = queue_driver.running(database, spec=factories.make_spec(epochs=6))
    queue_driver.record(database, attempt, 2)
    requests = open_training(page, attempt)
    shows_what_is_stored(page, stack, attempt.job_id)
    queue_driver.record(database, attempt, 2, first=2)
    shows_what_is_stored(page, stack, attempt.job_id)
    queue_driver.record(database, attempt, 2, first=4)
    queue_driver.succeed(database, attempt, factories.make_model())
    expect(page.get_by_role("status")).to_have_text("Finished")
    shows_what_is_stored(page, stack, attempt.job_id)

    metrics = [url for url in requests if "/metrics?" in url]
    assert len([url for url in metrics if "resolution=epoch" in url]) == 1
    starts = [int(url.partition("from=")[2].partition("&")[0]) for url in metrics if "=step" in url]
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert min(starts[1:]) >= 4
    expect(page.get_by_label("The newest epochs").get_by_role("row")).to_have_count(7)


def test_no_gap_and_no_repeat_after_a_reload_and_after_the_api_was_killed(
    pages: WatchedPages, stack: WebStack, database: Database
) -> None:
    page = pages.open(allow=AWAY)
    attempt = queue_driver.running(database, spec=factories.make_spec(epochs=20))
    queue_driver.record(database, attempt, 3)
    open_training(page, attempt)
    shows_what_is_stored(page, stack, attempt.job_id)
    stack.kill()
    expect(page.get_by_role("status")).to_have_text("Reconnecting")
    queue_driver.record(database, attempt, 4, first=3)
    stack.restart()
    is_live(page)
    shows_what_is_stored(page, stack, attempt.job_id)
    page.reload()
    queue_driver.record(database, attempt, 4, first=7)
    is_live(page)
    queue_driver.record(database, attempt, 1, first=11)
    shows_what_is_stored(page, stack, attempt.job_id)
    assert len(shown(page, "epoch")["loss"]) == 12


def test_curves_of_other_jobs_lie_over_them_and_grow_too(page: Page, database: Database) -> None:
    finished, _ = queue_driver.succeeded(database, name="finished")
    other, own = queue_driver.running(database, name="other"), queue_driver.running(database, name="own")
    queue_driver.record(database, other, 1)
    queue_driver.record(database, own, 1)
    open_training(page, own)
    page.get_by_label("Compare with").select_option(label="other · 40.00 %")
    page.get_by_role("button", name="Add").click()
    page.get_by_label("Compare with").select_option(value=str(finished))
    page.get_by_role("button", name="Add").click()
    is_live(page)
    expect(page.locator("#batch-loss .legend button")).to_have_text(
        ["own, each batch", "other, each batch", "finished, each batch"]
    )
    queue_driver.record(database, other, 1, first=1)
    page.wait_for_function("() => document.querySelector('#curves').curves[1].last('step') === 3")
    page.get_by_role("link", name="Remove other").click()
    expect(page.locator("#epoch-loss .legend button")).to_have_count(4)


def test_settings_and_a_zoom_change_what_is_drawn_and_are_kept(page: Page, database: Database) -> None:
    attempt = queue_driver.running(database, spec=factories.make_spec(epochs=20))
    queue_driver.record(database, attempt, 20)
    open_training(page, attempt)
    plot = page.locator("#batch-loss .plot")
    expect(plot).to_have_attribute("aria-label", summary("Batch loss", 40))
    page.get_by_label("Smooth batches").select_option("10")
    page.get_by_label("Logarithmic loss").check()
    page.get_by_label("Along").select_option("epoch")
    plot.hover(position={"x": 300, "y": 60})
    expect(page.locator("#epoch-loss .readout")).to_contain_text("Epoch")  # the charts share their axis
    drag(page, "#batch-loss .plot", 150, 300)
    expect(page.locator("#epoch-accuracy").get_by_role("button", name="Show all")).to_be_visible()
    page.locator("#epoch-accuracy").get_by_role("button", name="Show all").click()
    expect(page.get_by_role("button", name="Show all")).to_have_count(0)
    page.reload()
    expect(page.get_by_label("Along")).to_have_value("epoch")
    expect(page.get_by_label("Logarithmic loss")).to_be_checked()


def test_two_fingers_zoom_what_they_hold(pages: WatchedPages, database: Database) -> None:
    page = pages.open(has_touch=True)
    attempt = queue_driver.running(database, spec=factories.make_spec(epochs=20))
    queue_driver.record(database, attempt, 20)
    open_training(page, attempt)
    plot = page.locator("#batch-loss .plot")
    expect(plot).to_have_attribute("aria-label", summary("Batch loss", 40))
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *places: float) -> None:
        points = [{"x": box["x"] + x, "y": box["y"] + 60, "id": i} for i, x in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 200)
    touch("touchStart", 200, 300)
    touch("touchMove", 150, 350)
    touch("touchEnd")
    expect(page.locator("#batch-loss").get_by_role("button", name="Show all")).to_be_visible()
    page.locator("#batch-loss").get_by_role("button", name="Table").click()
    rows = page.get_by_label("Batch loss as a table").locator("tbody tr")
    assert 16 <= rows.count() <= 24  # of 40: two fingers twice as far apart show half


def summary(title: str, points: int) -> re.Pattern[str]:
    return re.compile(rf"^{title}\. .*: .* at first, .* now, {points} points\.$")


def drag(page: Page, selector: str, start: float, end: float) -> None:
    box = page.locator(selector).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + end, box["y"] + 60)
    page.mouse.up()


def test_the_curves_are_read_by_keys_and_as_a_table_and_saved_as_files(
    page: Page, database: Database
) -> None:
    attempt = queue_driver.running(database, name="by keys")
    queue_driver.record(database, attempt, 3)
    open_training(page, attempt)
    expect(page.locator("#epoch-loss .plot")).to_have_attribute("aria-label", summary("Epoch loss", 3))
    page.locator("#epoch-loss .plot").focus()
    page.keyboard.press("End")
    expect(page.locator("#epoch-loss .readout")).to_have_text("Epoch 3training 0.3333validation 0.3667")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#epoch-loss [aria-live]")).to_have_text("Epoch 2, training 0.5, validation 0.55")
    page.keyboard.press("+")
    expect(page.locator("#epoch-loss").get_by_role("button", name="Show all")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#epoch-loss").get_by_role("button", name="Show all")).to_be_hidden()
    page.locator("#epoch-loss").get_by_role("button", name="Table").click()
    rows = page.get_by_label("Epoch loss as a table").get_by_role("row")
    expect(rows).to_have_text(["Epochtrainingvalidation", "111.1", "20.50.55", "30.33330.3667"])
    assert violations(page) == []
    with page.expect_download() as picture:
        page.locator("#epoch-loss").get_by_role("button", name="PNG").click()
    assert picture.value.suggested_filename == f"epoch-loss-{attempt.job_id}.png"
    with page.expect_download() as table:
        page.locator("#batch-loss").get_by_role("link", name="CSV").click()
    assert table.value.path().read_text().count("\n") == 7  # a header and six steps


def test_a_legend_hides_curves(page: Page, database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 3)
    open_training(page, attempt)
    plot = page.locator("#epoch-loss .plot")
    expect(plot).to_have_attribute("aria-label", summary("Epoch loss", 3))
    page.locator("#epoch-loss").get_by_role("button", name="validation").click()
    expect(plot).not_to_have_attribute("aria-label", re.compile("validation"))


def test_a_zoom_shows_every_step_of_its_range_and_the_whole_shows_the_extremes(
    page: Page, database: Database
) -> None:
    steps = 4_000
    spec = factories.make_spec(epochs=3, train_size=steps, batch_size=1)
    attempt = queue_driver.running(database, spec=spec)
    for epoch in range(3):
        loss = tuple(float(step % 7 + (step == 1_234) * 100) for step in range(steps))
        values = factories.make_epoch(epoch, steps={"loss": loss, "accuracy": (0.5,) * steps})
        queue_driver.record_progress(database, attempt, factories.make_progress(values))
    open_training(page, attempt)
    chart = page.locator("#batch-loss")
    expect(chart.locator(".plot")).to_have_attribute("aria-label", summary("Batch loss", 4_000))
    peak: float = page.evaluate(
        "() => Math.max(...document.querySelector('#curves').curves[0].series.step.loss.max)"
    )
    assert peak == 102.0  # no point of it was dropped, though only one in three is drawn

    chart.locator(".plot").focus()
    page.keyboard.press("End")
    with page.expect_response(lambda answer: "from=" in answer.url and "to=" in answer.url):
        for _ in range(12):
            page.keyboard.press("+")
    chart.get_by_role("button", name="Table").click()
    cells = page.get_by_label("Batch loss as a table").locator("tbody td:first-child")
    expect(cells.nth(-2)).to_have_text("11,999")
    shown_steps = [int(cell.replace(",", "")) for cell in cells.all_inner_texts()]
    assert shown_steps == list(range(3 * steps - len(shown_steps) + 1, 3 * steps + 1))
    assert 50 < len(shown_steps) < 200
