"""Drawing a digit: a model of the real trainer reads it at every stroke, and shows its insides."""

import logging
import re
from pathlib import Path
from statistics import median
from uuid import UUID

import pytest
from playwright.sync_api import Locator, Page, expect
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.schemas import ModelKind, TrainSpec
from tests.support import factories, queue_driver, registry
from tests.support.browsing import WatchedPages, violations
from tests.support.drawings import STROKES, draw
from tests.support.factories import NewModel, make_evaluation
from tests.support.onnx_models import make_readable_model
from tests.support.synthetic import RecordingMonitor

_log = logging.getLogger(__name__)

FRAME_MS = 16.0
PART = 50  # strokes
WARM_UP = 20  # strokes until the engine has compiled what is called often
NOTHING = "–"  # noqa: RUF001 (a dash)
PICTURE = "(canvas) => canvas.toDataURL()"
NO_MNIST = ["503"]  # the stack has no MNIST, so that it offers no test images of it


@pytest.fixture(scope="session")
def codelab_model(tmp_path_factory: pytest.TempPathFactory, real_mnist: dict[str, str]) -> NewModel:
    """The codelab's model, trained by the real trainer on 5,500 images."""
    from workers.mnist.executor import MnistExecutor

    settings = factories.make_settings(tmp_path_factory.mktemp("trainer"), **real_mnist)
    spec = TrainSpec(train_size=5_500, validation_size=1_000, evaluation_size=500, seed=1)
    trained = MnistExecutor(settings).train(spec, None, RecordingMonitor())
    return NewModel(
        id=uuid7(),
        spec=spec,
        layers=trained.layers,
        weights_sha256=trained.weights_sha256,
        files={artifact.name: artifact.content for artifact in trained.artifacts},
        evaluation=trained.result or make_evaluation(),
    )


def store(database: Database, model: NewModel, alias: str) -> UUID:
    queue_driver.succeed(database, queue_driver.running(database), model)
    registry.change_model(database, model.id, alias=alias)
    return model.id


@pytest.fixture
def first(database: Database) -> UUID:
    """A CNN with random weights, of the dataset `digits`, which needs no download."""
    spec = factories.make_spec(dataset="digits")
    return store(database, make_readable_model(spec), "first")


@pytest.fixture
def second(database: Database) -> UUID:
    """A dense model with random weights."""
    spec = factories.make_spec(dataset="digits", model=ModelKind.DENSE, threshold=0.25)
    return store(database, make_readable_model(spec, seed=1), "second")


def open_pad(page: Page, address: str = "/try") -> Locator:
    """Open the page; return the pad, ready to be drawn on."""
    page.goto(address)
    expect(page.locator("#try")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator(".answer")).not_to_have_count(0)
    return page.locator("#pad")


def draw_with_mouse(page: Page, digit: int, *, steps: int = 4) -> None:
    box = page.locator("#pad").bounding_box()
    assert box is not None
    for points in STROKES[digit]:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=steps)
        page.mouse.up()


def read(page: Page) -> Locator:
    """The digits that the models read."""
    return page.locator(".digit")


@pytest.mark.slow
def test_a_3_that_is_drawn_with_the_mouse_is_read_as_3(
    pages: WatchedPages, database: Database, codelab_model: NewModel
) -> None:
    page, model_id = pages.open(allow=NO_MNIST), store(database, codelab_model, "champion")
    open_pad(page)
    expect(read(page)).to_have_text(NOTHING)

    draw_with_mouse(page, 3)

    expect(read(page)).to_have_text("3")
    expect(page.locator(".words")).to_contain_text("with a probability of")
    page.locator("#clear").click()
    expect(page.locator(".words")).to_have_text("Draw a digit")
    draw_with_mouse(page, 7)
    expect(read(page)).to_have_text("7")

    # the server reads the drawing as the page does
    drawing = page.locator("#pad canvas").screenshot()
    answer = page.request.post(
        f"/v1/models/{model_id}/predict", data=drawing, headers={"Content-Type": "image/png"}
    )
    assert answer.json()["data"][0]["prediction"] == 7


@pytest.mark.slow
def test_a_stroke_is_read_within_a_frame(
    pages: WatchedPages, database: Database, codelab_model: NewModel
) -> None:
    page = pages.open(allow=NO_MNIST)
    store(database, codelab_model, "champion")
    open_pad(page)
    session = page.context.new_cdp_session(page)
    session.send(
        "Performance.enable", {"timeDomain": "threadTicks"}
    )  # of the CPU: other programs do not count

    def script_ms() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return 1_000 * float(next(item["value"] for item in metrics if item["name"] == "ScriptDuration"))

    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    taken = []
    for step in range(WARM_UP + 3 * PART):
        before = script_ms()
        page.mouse.move(box["x"] + 40 + 37 * step % 200, box["y"] + 40 + step % 200)
        page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")
        taken.append(script_ms() - before)
    page.mouse.up()

    # a processor that others use at the same time takes longer: of three parts the best
    parts = [sorted(taken[WARM_UP + part * PART :][:PART]) for part in range(3)]
    p95 = min(strokes[PART * 95 // 100] for strokes in parts)
    _log.info("CPU time of a stroke: median %.1f ms, p95 %.1f ms", median(taken[WARM_UP:]), p95)
    assert p95 < FRAME_MS


def test_below_the_threshold_no_digit_is_found(page: Page, second: UUID) -> None:
    open_pad(page, f"/models/{second}/try")
    expect(page.locator("#threshold-value")).to_have_text("25 %")  # the model's own
    draw_with_mouse(page, 3)
    threshold = page.locator("#threshold")
    threshold.fill("1")
    expect(read(page)).to_have_text(NOTHING)
    expect(page.locator(".words")).to_contain_text("No digit found")
    threshold.fill("0")
    expect(read(page)).to_have_text(re.compile(r"^\d$"))
    expect(page.locator("#threshold-value")).to_have_text("off")


def test_two_models_read_the_same_drawing_side_by_side(page: Page, first: UUID, second: UUID) -> None:
    open_pad(page, f"/try?model={first}")
    draw_with_mouse(page, 3)
    page.get_by_label("Beside it").select_option(str(second))

    expect(page.locator(".result:visible")).to_have_count(2)
    expect(page.locator(".words")).to_have_count(2)
    expect(page.locator(".words").last).to_contain_text("probability")
    assert page.url.endswith(f"/try?model={first}&with={second}")
    scores = [answer.locator(".num").all_inner_texts() for answer in page.locator(".scores").all()]
    assert scores[0] != scores[1]
    assert page.locator(".insides .layer h3").all_inner_texts() == [
        "conv1",
        "pool1",
        "conv2",
        "pool2",
        "hidden",
    ]
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)
    page.get_by_label("Beside it").select_option("")
    expect(page.locator(".answer")).to_have_count(1)


def test_a_slider_shows_the_digit_as_the_model_saw_it_after_each_epoch(
    page: Page, database: Database
) -> None:
    spec = factories.make_spec(dataset="digits", keep_weights=True)
    attempt, model = queue_driver.running(database, spec=spec), make_readable_model(spec)
    queue_driver.record(database, attempt, 3, keep_weights=True)
    queue_driver.succeed(database, attempt, model)
    open_pad(page, f"/models/{model.id}/try")
    draw_with_mouse(page, 3)
    expect(page.locator(".words")).to_contain_text("probability")
    slider, scores = page.get_by_label("Epoch of"), page.locator(".scores .num")
    expect(page.locator(".epochs output")).to_have_text("after epoch 3 of 3")
    seen = [scores.all_inner_texts()]

    slider.focus()
    for epoch in (2, 1):
        page.keyboard.press("ArrowLeft")
        expect(page.locator(".epochs output")).to_have_text(f"after epoch {epoch} of 3")
        expect(scores.nth(1)).not_to_have_text(seen[-1][1])
        seen.append(scores.all_inner_texts())
    # weights that are all equal, as these are, give every digit the same probability
    assert seen[-1][::2] == ["10.0 %"] * 10


@pytest.mark.usefixtures("first")
def test_a_test_image_is_read_until_somebody_draws(page: Page) -> None:
    open_pad(page)
    invitation = page.get_by_text("Now draw your own")
    expect(invitation).to_be_visible()
    expect(page.locator(".words")).to_contain_text("probability")
    example = page.locator("#pad canvas").evaluate(PICTURE)

    draw_with_mouse(page, 1)
    expect(invitation).to_be_hidden()
    alone = page.locator("#pad canvas").evaluate(PICTURE)
    page.get_by_role("button", name="Clear").click()
    draw_with_mouse(page, 1)
    assert page.locator("#pad canvas").evaluate(PICTURE) == alone != example


@pytest.mark.usefixtures("first")
def test_every_layer_changes_while_drawing(page: Page) -> None:
    open_pad(page)
    sheets = page.locator(
        ".insides .sheet[role=application] canvas, #seen canvas, .added canvas, .added-all canvas"
    )
    draw_with_mouse(page, 7)
    before = [sheet.evaluate(PICTURE) for sheet in sheets.all()]
    draw_with_mouse(page, 3)

    expect(page.locator("#took")).to_contain_text("ms")
    assert len(before) == 4 + 1 + 2
    assert all(sheet.evaluate(PICTURE) != old for sheet, old in zip(sheets.all(), before, strict=True))


@pytest.mark.usefixtures("first")
def test_pointing_at_a_maps_pixel_shows_the_patch_and_the_kernel_that_made_it(page: Page) -> None:
    open_pad(page)
    draw_with_mouse(page, 3)
    conv2 = page.get_by_role("application", name="conv2")
    conv2.hover(position={"x": 8, "y": 8})
    formula = page.locator(".formula")
    expect(formula).to_contain_text("conv2, map 1")
    expect(formula).to_contain_text("200 products")
    assert page.locator(".parts figcaption").all_inner_texts() == ["patch", "kernel", "products"]
    expect(page.locator("#seen .marker")).to_be_visible()
    page.get_by_role("application", name="pool2").hover(position={"x": 3, "y": 3})
    expect(formula).to_contain_text("the largest of 4")


@pytest.mark.usefixtures("first")
def test_everything_is_done_by_keyboard_alone(page: Page) -> None:
    pad = open_pad(page)
    blank = page.locator("#seen canvas").evaluate(PICTURE)
    pad.focus()
    for key in ["ArrowUp"] * 8 + [" "] + ["ArrowDown"] * 16 + [" "]:
        page.keyboard.press(key)

    expect(page.locator(".words")).to_contain_text("probability")
    expect(page.locator("#place")).to_have_text("Row 23, column 15, pen up")
    assert page.locator("#seen canvas").evaluate(PICTURE) != blank
    page.keyboard.press("Control+z")
    expect(page.locator(".words")).to_have_text("Draw a digit")

    page.get_by_role("button", name="Test image").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".words")).to_contain_text("probability")
    page.get_by_role("application", name="conv1").focus()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator(".formula")).to_contain_text("conv1, map")
    page.locator(".scores button").nth(4).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".added figcaption")).to_contain_text("What the pixels added to 4")


@pytest.mark.usefixtures("first")
def test_strokes_are_undone_one_by_one(page: Page) -> None:
    open_pad(page)
    draw_with_mouse(page, 4)  # two strokes
    seen = page.locator("#seen canvas")
    both = seen.evaluate(PICTURE)
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Undo").click()
    page.evaluate("new Promise(requestAnimationFrame)")
    assert seen.evaluate(PICTURE) == both
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".words")).to_contain_text("probability")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".words")).to_have_text("Draw a digit")


@pytest.mark.usefixtures("first")
def test_a_file_is_uploaded_and_a_file_that_is_no_image_is_refused(page: Page, tmp_path: Path) -> None:
    open_pad(page)
    drawing, broken = tmp_path / "<img src=x onerror=alert(1)>.png", tmp_path / "<u>broken.png"
    draw(STROKES[3], side=600, ink=40, paper=230).save(drawing)
    broken.write_bytes(b"not an image")

    page.locator("#upload").set_input_files(drawing)
    expect(page.locator(".words")).to_contain_text("probability")
    page.locator("#upload").set_input_files(broken)
    expect(page.get_by_role("alert")).to_contain_text("not an image")
    assert page.locator('main :is([src="x"], u)').count() == 0  # no part of their names became an element


@pytest.mark.usefixtures("first")
def test_a_finger_and_a_pen_draw_as_the_mouse_does(page: Page) -> None:
    pad = open_pad(page)
    for kind in ("touch", "pen"):
        page.get_by_role("button", name="Clear").click()
        box = pad.bounding_box()
        assert box is not None
        for name, step in (("pointerdown", 0), ("pointermove", 1), ("pointermove", 2), ("pointerup", 2)):
            place = {
                "pressure": 0.5,
                "clientX": box["x"] + 80 + 20 * step,
                "clientY": box["y"] + 60 + 60 * step,
            }
            pad.dispatch_event(
                name,
                {
                    **place,
                    "pointerType": kind,
                    "pointerId": 1,
                    "isPrimary": True,
                    "buttons": 1,
                    "pressure": 0.5,
                },
            )
        expect(page.locator(".words")).to_contain_text("probability")


def test_the_page_is_accessible_in_both_themes_at_every_width(page: Page, first: UUID, second: UUID) -> None:
    open_pad(page, f"/try?model={first}&with={second}")
    draw_with_mouse(page, 3)
    assert violations(page) == []
    for width in (320, 390, 768, 1440, 3840):
        page.set_viewport_size({"width": width, "height": 800})
        root = "document.documentElement"
        # a function, which needs no eval, for the CSP forbids it; sheets are drawn again
        page.wait_for_function(f"() => {root}.scrollWidth === {root}.clientWidth")


def test_without_a_model_and_without_javascript_the_page_says_what_to_do(
    pages: WatchedPages, database: Database
) -> None:
    page, without = pages.open(), pages.open(java_script_enabled=False)
    page.goto("/try")
    expect(page.get_by_text("No model to try yet")).to_be_visible()
    assert violations(page) == []
    store(database, make_readable_model(factories.make_spec()), "first")
    without.goto("/try")
    assert "trainshed predict" in without.content()  # in a noscript, which emulation does not show
