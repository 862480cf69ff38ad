"""A real worker trains with TensorFlow while the API is killed and the page reloaded: no gap, no repeat."""

import re
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from shared.settings import Settings
from tests.support import factories, queue_driver
from tests.support.browsing import AWAY, WatchedPages, is_live
from tests.support.servers import NO_TLS
from tests.support.web_stack import WebStack
from tests.web.test_training import shown, shows_what_is_stored

EPOCHS = 300
REAL = Settings.model_fields["executor"].default
START_MS = 120_000  # of TensorFlow, on a busy machine


def has_epochs(page: Page, count: int) -> None:
    page.wait_for_function(
        "(count) => document.querySelector('#curves').curves[0].last('epoch') >= count - 1",
        arg=count,
        timeout=START_MS,
    )


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_curves_grow_while_a_model_is_trained_and_have_every_point_once(
    pages: WatchedPages, stack: WebStack, database: Database
) -> None:
    page = pages.open(allow=AWAY)
    spec = factories.make_spec(dataset="digits", epochs=EPOCHS, train_size=1_000, batch_size=50)
    job_id = queue_driver.submit(database, spec=spec, name="real")
    page.goto(f"/jobs/{job_id}")
    with stack.worker(executor=REAL):
        has_epochs(page, 5)
        stack.kill()
        expect(page.get_by_role("status")).to_have_text("Reconnecting")
        stack.restart()
        is_live(page, START_MS)
        has_epochs(page, len(shown(page, "epoch")["loss"]) + 1)
        page.reload()
        has_epochs(page, 6)
        expect(page.get_by_role("status")).to_have_text("Finished", timeout=START_MS)
    shows_what_is_stored(page, stack, job_id)
    assert len(shown(page, "epoch")["loss"]) == EPOCHS
    assert len(shown(page, "step")["loss"]) == EPOCHS * 20
    shows_the_images_of_a_cell(page, stack, job_id)


def shows_the_images_of_a_cell(page: Page, stack: WebStack, job_id: UUID) -> None:
    """From the matrix to the images of its cells, with the model's own probabilities."""
    page.get_by_role("link", name="Evaluation", exact=True).click()
    expect(page.get_by_label("Threshold")).to_be_visible()
    url = f"{stack.url}/v1/jobs/{job_id}/evaluation"
    matrix = httpx.get(url, verify=NO_TLS).raise_for_status().json()["confusion_matrix"]
    counts = {(label, digit): count for label, row in enumerate(matrix) for digit, count in enumerate(row)}
    errors = [cell for cell, count in counts.items() if count and cell[0] != cell[1]]
    for label, predicted in [(0, 0), *errors[:1]]:
        cell, count = page.locator(f'[data-cell="{label}-{predicted}"] a'), counts[label, predicted]
        expect(cell).to_have_text(str(count), use_inner_text=True)
        cell.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.locator(".shot")).to_have_count(count)
        expect(dialog.locator(".chance").first).to_have_text(re.compile(r"^\d+\.\d %$"))
        address = dialog.locator("image").first.get_attribute("href")
        assert httpx.get(f"{stack.url}{address}", verify=NO_TLS).headers["Content-Type"] == "image/png"
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
