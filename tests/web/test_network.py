"""The model in the browser computes what ONNX Runtime does, and sees what the server's predictions see."""

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Page

from api.prediction.mnist_images import convert
from api.prediction.onnx_models import OnnxModels
from api.prediction.tfjs_models import model_json
from api.web.static import static_files
from shared.datasets import catalog
from shared.formats.results import ONNX_FILE
from shared.formats.weights import to_bytes
from shared.schemas import ModelKind
from tests.support import factories
from tests.support.drawings import make_drawings
from tests.support.onnx_models import make_readable_model, make_weights

IMAGES = 1_000
LEVELS = 12  # of 255, that a pixel may differ


def module(name: str) -> str:
    """A JavaScript expression: a module of the pages."""
    return f"await import('{static_files().address(name)}')"


NETWORK = f"""
const {{ Network }} = {module("network.js")};
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const network = new Network(description, bytes(weights).buffer);
const image = (pixels, index) =>
  Float32Array.from(pixels.subarray(784 * index, 784 * (index + 1)), (value) => value / 255);
"""


@pytest.fixture(scope="module")
def test_images(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> npt.NDArray[np.uint8]:
    """1,000 test images, (1000, 784): MNIST's where its sprite is at hand, otherwise `digits`."""
    settings = factories.make_settings(tmp_path_factory.mktemp("images"))
    try:
        urls = request.getfixturevalue("real_mnist")
    except pytest.skip.Exception:
        images = np.concatenate([catalog.load("digits", settings).test_images] * 3)[:IMAGES]
    else:
        images = catalog.load("mnist", settings.model_copy(update=urls)).test_images[:IMAGES]
    assert len(images) == IMAGES
    return images.reshape(IMAGES, 784)


def run(page: Page, script: str, kind: ModelKind, images: npt.NDArray[np.uint8]) -> Any:
    """Run a script with a network of `make_weights`, `network`, and `image(pixels, index)`."""
    page.goto("/sign-in")
    page.set_default_timeout(60_000)
    return page.evaluate(
        f"async ([description, weights, pixels]) => {{ {NETWORK} pixels = bytes(pixels); {script} }}",
        [
            model_json(kind, "weights.bin"),
            base64.b64encode(to_bytes(make_weights(kind))).decode(),
            base64.b64encode(images.tobytes()).decode(),
        ],
    )


@pytest.mark.parametrize("kind", ModelKind)
def test_its_probabilities_are_those_of_onnx_runtime_on_1000_test_images(
    page: Page, kind: ModelKind, test_images: npt.NDArray[np.uint8]
) -> None:
    model = make_readable_model(factories.make_spec(model=kind))
    inputs = np.divide(test_images, 255, dtype=np.float32).reshape(-1, 28, 28, 1)
    expected = OnnxModels().probabilities(model.id, lambda: model.files[ONNX_FILE], inputs)

    outputs = run(
        page,
        f"""const outputs = [];
        for (let index = 0; index < {IMAGES}; index += 1) {{
          outputs.push([...network.forward(image(pixels, index)).probabilities]);
        }}
        return outputs;""",
        kind,
        test_images,
    )

    assert np.abs(np.array(outputs) - expected).max() < 1e-5
    assert len(set(expected.argmax(axis=1))) > 1


@pytest.mark.parametrize("kind", ModelKind)
def test_what_the_pixels_and_the_biases_add_is_the_score(
    page: Page, kind: ModelKind, test_images: npt.NDArray[np.uint8]
) -> None:
    difference, scores, of_black = run(
        page,
        """let worst = 0, highest = 0, black = 0;
        for (let index = 0; index < 50; index += 1) {
          const { scores, input } = network.forward(image(pixels, index));
          const { pixels: added, constants } = network.contributions();
          scores.forEach((score, digit) => {
            let sum = constants[digit];
            for (let pixel = 0; pixel < 784; pixel += 1) {
              sum += added[10 * pixel + digit];
              if (input[pixel] === 0) black = Math.max(black, Math.abs(added[10 * pixel + digit]));
            }
            worst = Math.max(worst, Math.abs(sum - score));
            highest = Math.max(highest, Math.abs(score));
          });
        }
        return [worst, highest, black];""",
        kind,
        test_images,
    )

    assert difference < 1e-4
    assert scores > 1
    assert of_black == 0


def test_a_value_of_a_layer_is_explained_by_its_patch_and_its_kernel(
    page: Page, test_images: npt.NDArray[np.uint8]
) -> None:
    worst, compared = run(
        page,
        """const trace = network.forward(image(pixels, 3));
        let worst = 0, compared = 0;
        network.layers.forEach((layer, index) => {
          if (layer.type === 'Flatten') return;
          const [height, width, filters] = layer.shape.length === 3 ? layer.shape : [1, 1, layer.shape[0]];
          for (let place = 0; place < height * width * filters; place += 1) {
            const f = place % filters;
            const [y, x] = [Math.floor(place / filters / width), Math.floor(place / filters) % width];
            const { value, bias, patch, kernel } = network.explain(index, y, x, f);
            let sum = kernel ? bias : Math.max(...patch);
            kernel?.forEach((weight, step) => { sum += weight * patch[step]; });
            if (layer.isRectified) sum = Math.max(sum, 0);
            const expected = layer.name === 'probabilities' ? trace.scores[f] : value;
            worst = Math.max(worst, Math.abs(sum - expected));
            compared += 1;
          }
        });
        return [worst, compared];""",
        ModelKind.CNN,
        test_images,
    )

    assert compared == 24 * 24 * 8 + 12 * 12 * 8 + 8 * 8 * 16 + 4 * 4 * 16 + 10
    assert worst < 1e-4


@pytest.mark.parametrize(
    ("layer", "place", "field"),
    [
        ("conv1", (2, 3), {"top": 2, "left": 3, "height": 5, "width": 5}),
        ("pool1", (2, 3), {"top": 4, "left": 6, "height": 6, "width": 6}),
        ("conv2", (2, 3), {"top": 4, "left": 6, "height": 14, "width": 14}),
        ("pool2", (1, 0), {"top": 4, "left": 0, "height": 16, "width": 16}),
        ("probabilities", (0, 0), {"top": 0, "left": 0, "height": 28, "width": 28}),
    ],
)
def test_the_part_of_the_image_that_a_value_depends_on(
    page: Page, layer: str, place: tuple[int, int], field: dict[str, int], test_images: npt.NDArray[np.uint8]
) -> None:
    script = f"""const index = network.layers.findIndex((layer) => layer.name === '{layer}');
    return network.field(index, {place[0]}, {place[1]});"""
    assert run(page, script, ModelKind.CNN, test_images[:1]) == field


def test_a_drawing_becomes_the_image_that_the_server_makes_of_it(page: Page) -> None:
    drawings, is_different = make_drawings(), []
    page.goto("/sign-in")
    for name, drawing in drawings.items():
        rgba = np.asarray(drawing.convert("RGBA"))
        converted = page.evaluate(
            f"""async ([pixels, width, height]) => {{
            const {{ toDigit }} = {module("digit.js")};
            const data = Uint8ClampedArray.from(atob(pixels), (letter) => letter.charCodeAt(0));
            return [...toDigit({{ data, width, height }})];
            }}""",
            [base64.b64encode(rgba.tobytes()).decode(), drawing.width, drawing.height],
        )
        difference = np.abs(np.array(converted) - convert(drawing).ravel())
        assert difference.max() <= LEVELS, name
        is_different.append(bool(difference.any()))
    assert sum(is_different) <= 1  # Pillow's order of the two directions is not known for each shape
