"""A real worker trains with TensorFlow while the API is killed and the page reloaded: no gap, no repeat."""

import pytest
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from shared.settings import Settings
from tests.support import factories
from tests.support.browsing import AWAY, WatchedPages, is_live
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
    job_id = factories.submitted(database, spec=spec, name="real")
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
