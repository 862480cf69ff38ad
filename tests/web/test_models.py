"""The pages of models, and a job's tab `model`: weights as pictures, changes, files."""

from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from shared.schemas import ModelKind
from tests.support import factories, queue_driver, stored
from tests.support.browsing import WatchedPages
from tests.support.onnx_models import make_readable_model


def trained(database: Database, kind: ModelKind = ModelKind.CNN, **job: str) -> UUID:
    """Store a model with weights."""
    model = make_readable_model(factories.make_spec(model=kind))
    queue_driver.succeed(database, queue_driver.running(database, **job), model)
    return model.id


@pytest.fixture
def model_id(database: Database) -> UUID:
    """A CNN beside a dense model."""
    trained(database, ModelKind.DENSE)
    return trained(database, name="by this job")


def test_the_weights_of_each_layer_are_pictures_in_both_places(
    page: Page, database: Database, model_id: UUID
) -> None:
    job_id = stored.model(database, model_id).job_id
    for address in (f"/models/{model_id}", f"/jobs/{job_id}?tab=model"):
        page.goto(address)
        figures = page.locator(".weights figure")
        expect(figures).to_have_count(3)
        assert page.locator(".weights strong").all_inner_texts() == ["conv1", "conv2", "probabilities"]
        pictures = [
            canvas.evaluate("(canvas) => canvas.toDataURL()") for canvas in figures.locator("canvas").all()
        ]
        assert len(set(pictures)) == 3
        expect(page.get_by_role("row").filter(has_text="All layers")).to_contain_text("5,994")


@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without"])
def test_a_model_is_named_and_deleted_from_its_page(
    pages: WatchedPages, model_id: UUID, has_scripts: bool
) -> None:
    page = pages.open(java_script_enabled=has_scripts, allow=["409", "422"])
    page.goto(f"/models/{model_id}")
    page.get_by_label("Alias").fill("No Capitals")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Alias")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Alias").fill("champion")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("champion")

    def delete() -> None:
        page.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_role("button", name="Delete the files").click()

    delete()
    expect(page.get_by_text("give that alias to another model first")).to_be_visible()
    page.goto(f"/models/{model_id}")
    page.get_by_label("Alias").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Model")
    delete()
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(2)


def test_files_are_downloaded(page: Page, model_id: UUID) -> None:
    page.goto(f"/models/{model_id}")
    with page.expect_download() as download:
        page.get_by_role("link", name="ONNX").click()
    assert download.value.suggested_filename == f"model-{model_id}.onnx"
    expect(page.locator("code", has_text="tf.loadLayersModel")).to_contain_text(f"{model_id}/tfjs/model.json")
