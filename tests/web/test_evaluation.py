"""The tab with the evaluation: recounted for any threshold, with images, also without scripts."""

from base64 import b64encode
from uuid import UUID

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from shared.db.engine import Database
from shared.formats.classification import classification
from shared.formats.predictions import PredictedImages
from tests.support import factories, queue_driver
from tests.support.browsing import WatchedPages, is_live, violations

RECOUNT = """async ([address, encoded, threshold]) => {
  const { parse, recount } = await import(address);
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const { matrix, rejected } = recount(parse(bytes.buffer, 10), threshold);
  return [[...matrix], [...rejected]];
}"""


@pytest.fixture
def address(database: Database) -> str:
    """The tab of a job whose model took one of five nines (test image 7) for a four, with 0.6; else 0.91."""
    return f"/jobs/{evaluated(database)}?tab=evaluation"


def evaluated(database: Database) -> UUID:
    spec = factories.make_spec(dataset="digits")
    attempt = queue_driver.running(database, spec=spec)
    queue_driver.succeed(database, attempt, factories.make_model(spec=spec))
    return attempt.job_id


def cell(page: Page, label: int, predicted: int) -> Locator:
    return page.locator(f'[data-cell="{label}-{predicted}"] a')


def is_ready(page: Page) -> None:
    expect(page.get_by_label("Threshold")).to_be_visible()


def test_the_threshold_recounts_everything_at_once(page: Page, address: str) -> None:
    page.goto(address)
    is_ready(page)
    assert violations(page) == []
    slider, facts = page.get_by_label("Threshold"), page.locator(".evaluation-head .facts")
    expect(cell(page, 9, 4)).to_have_text("1", use_inner_text=True)

    slider.fill("0.7")
    expect(cell(page, 9, 4)).to_have_text("0", use_inner_text=True)
    expect(cell(page, 9, -1)).to_have_text("1", use_inner_text=True)
    expect(facts).to_contain_text("Wrong\n0", use_inner_text=True)
    expect(facts).to_contain_text("No digit found\n1", use_inner_text=True)
    nine = page.get_by_role("row", name="Nine")
    expect(nine.locator('[data-value="rejected"]')).to_have_text("1")
    expect(nine.locator('[data-value="precision"]')).to_have_text("100.00 %")
    expect(page.locator(".shot.rejected")).to_have_count(1)

    slider.press("End")
    expect(facts).to_contain_text("No digit found\n50", use_inner_text=True)
    assert violations(page) == []
    page.get_by_role("button", name="As evaluated").press("Enter")
    expect(facts).to_contain_text("Accuracy\n98.00 %", use_inner_text=True)
    expect(slider).to_be_focused()


def test_the_browser_counts_as_the_worker_does(page: Page, address: str) -> None:
    page.goto(address)
    script = page.locator('script[src$="evaluation.js"]').get_attribute("src")
    assert script is not None
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2_000, 10)).astype(np.float32) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = rng.integers(0, 10, 2_000)
    images = PredictedImages(probabilities, np.arange(2_000), labels)
    encoded = b64encode(images.to_bytes()).decode()
    for threshold in (0.0, 0.33, float(probabilities[7].max()), 1.0):
        counted = page.evaluate(
            RECOUNT, [script.replace("evaluation.js", "predictions.js"), encoded, threshold]
        )
        expected = factories.as_shown(classification(probabilities, labels, threshold=threshold))
        rejected = [result.rejected for result in expected.per_class]
        assert counted == [[count for row in expected.confusion_matrix or () for count in row], rejected], (
            threshold
        )


def test_a_cell_opens_its_images_with_probabilities_by_keyboard(page: Page, address: str) -> None:
    page.goto(address)
    is_ready(page)
    cell(page, 0, 0).focus()
    for key, times in (("ArrowDown", 9), ("ArrowRight", 4)):
        for _ in range(times):
            page.keyboard.press(key)
    expect(cell(page, 9, 4)).to_be_focused()
    page.keyboard.press("Enter")

    dialog = page.get_by_role("dialog", name="9 predicted as 4: 1 image")
    expect(dialog).to_be_visible()
    expect(dialog.locator(".shot")).to_contain_text(["60.0 %"])
    expect(dialog.locator(".shot .other")).to_have_count(2)
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(cell(page, 9, 4)).to_be_focused()


def test_predictions_are_chosen_and_marked_not_by_colour_alone(page: Page, address: str) -> None:
    page.goto(address)
    is_ready(page)
    expect(page.locator("#shots-list .shot")).to_have_count(50)
    page.get_by_label("Show").select_option("wrong")
    expect(page.locator("#shots-count")).to_have_text("1 of 1 images")
    expect(page.locator("#shots-list .shot")).to_contain_text(["✗wrong: 4 is 9"])
    picture = page.locator("#shots-list image").get_attribute("href")
    assert picture == "/v1/datasets/digits/images?split=test&indices=7"


def test_percent_and_diagonal_are_switched_without_scripts(pages: WatchedPages, address: str) -> None:
    page = pages.open(java_script_enabled=False)
    page.goto(address)
    page.get_by_label("Percent of the row").check()
    expect(cell(page, 9, 4)).to_have_text("20.0", use_inner_text=True)
    diagonal = page.locator('[data-cell="0-0"]')
    shaded = diagonal.evaluate("(cell) => getComputedStyle(cell).backgroundColor")
    page.get_by_label("Shade the diagonal").uncheck()
    assert diagonal.evaluate("(cell) => getComputedStyle(cell).backgroundColor") != shaded

    cell(page, 9, 4).click()
    expect(page.get_by_role("heading", name="9, predicted as 4")).to_be_visible()
    expect(page.locator("#shots-list .shot")).to_have_count(1)


def test_results_appear_when_the_job_ends(page: Page, database: Database) -> None:
    spec = factories.make_spec(dataset="digits")
    attempt = queue_driver.running(database, spec=spec)
    page.goto(f"/jobs/{attempt.job_id}?tab=evaluation")
    is_live(page)
    expect(page.get_by_text("No evaluation yet")).to_be_visible()
    assert violations(page) == []
    queue_driver.succeed(database, attempt, factories.make_model(spec=spec))
    is_ready(page)
    expect(page.locator("#shots-list .shot")).to_have_count(50)
