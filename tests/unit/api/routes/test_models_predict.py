from base64 import b64decode, b64encode
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image

from api.http.middleware import MAX_IMAGES_BYTES
from shared.db.engine import Database
from shared.formats.results import KERAS_FILE, ONNX_FILE
from tests.support import factories, queue_driver
from tests.support.drawings import make_drawing
from tests.support.onnx_models import make_counting_onnx

JSON = {"Content-Type": "application/json"}


def _png(pixels: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


DRAWING = _png(make_drawing())
WHITE, BLACK = [[1.0] * 28] * 28, [[0] * 28] * 28


@pytest.fixture
def model_id(database: Database) -> UUID:
    """A model that says 3, and the surer the more ink there is."""
    model = factories.make_model(
        files={KERAS_FILE: b"", ONNX_FILE: make_counting_onnx()},
        spec=factories.make_spec(threshold=0.5),
    )
    queue_driver.succeed(database, queue_driver.running(database), model)
    return model.id


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "IMAGE/PNG; a=b"])
def test_uploaded_image_is_classified(client: httpx.Client, model_id: UUID, media_type: str) -> None:
    answer = client.post(
        f"/v1/models/{model_id}/predict", content=DRAWING, headers={"Content-Type": media_type}
    ).json()

    [prediction] = answer["data"]
    assert (answer["model_id"], answer["threshold"]) == (str(model_id), 0.5)
    assert (prediction["prediction"], prediction["reason"]) == (3, None)
    assert len(prediction["probabilities"]) == 10
    assert sum(prediction["probabilities"]) == pytest.approx(1)
    assert answer["ms"] > 0


def test_input_of_the_model_is_returned(client: httpx.Client, model_id: UUID) -> None:
    [prediction] = client.post(
        f"/v1/models/{model_id}/predict", content=DRAWING, headers={"Content-Type": "image/png"}
    ).json()["data"]

    prefix, encoded = prediction["input"].split(",")
    seen = np.asarray(Image.open(BytesIO(b64decode(encoded))))
    assert (prefix, seen.shape) == ("data:image/png;base64", (28, 28))
    assert (np.flatnonzero(seen.any(axis=1)).size, seen.max()) == (20, 255)


def test_pixels_and_files_are_classified_in_one_request(client: httpx.Client, model_id: UUID) -> None:
    file = b64encode(DRAWING).decode()
    images = [WHITE, file, f"data:image/png;base64,{file}", BLACK]

    predictions = client.post(f"/v1/models/{model_id}/predict", json={"images": images}).json()["data"]

    assert [prediction["prediction"] for prediction in predictions] == [3, 3, 3, None]
    assert [prediction["reason"] for prediction in predictions] == [None, None, None, "blank"]
    assert predictions[1]["input"] == predictions[2]["input"]


def test_prediction_below_the_threshold_has_no_digit(client: httpx.Client, model_id: UUID) -> None:
    faint = [[0.01] * 28] * 28
    path = f"/v1/models/{model_id}/predict"

    [by_default] = client.post(path, json={"images": [faint]}).json()["data"]
    [overridden] = client.post(path, json={"images": [faint]}, params={"threshold": 0.1}).json()["data"]

    assert (by_default["prediction"], by_default["reason"]) == (None, "below_threshold")
    assert overridden["prediction"] == 3


@pytest.mark.parametrize("paper", [0, 128, 255])
def test_blank_image_has_no_digit(client: httpx.Client, model_id: UUID, paper: int) -> None:
    image = _png(make_drawing(ink=paper, paper=paper))

    [prediction] = client.post(
        f"/v1/models/{model_id}/predict", content=image, headers={"Content-Type": "image/png"}
    ).json()["data"]

    assert (prediction["prediction"], prediction["reason"]) == (None, "blank")


@pytest.mark.parametrize(
    ("body", "headers", "status", "slug"),
    [
        (b"GIF89a", {"Content-Type": "image/gif"}, 415, "unsupported-image"),
        (b"x", {}, 415, "unsupported-image"),
        (b"not an image", {"Content-Type": "image/png"}, 422, "unreadable-image"),
        (b"", {"Content-Type": "image/jpeg"}, 422, "unreadable-image"),
        (DRAWING[:80], {"Content-Type": "image/png"}, 422, "unreadable-image"),
        (_png(np.zeros((4_097, 4_096), bool)), {"Content-Type": "image/png"}, 413, "image-too-large"),
        (b'{"images": ["!"]}', JSON, 422, "unreadable-image"),
        (b'{"images": ["\xc3\xa9"]}', JSON, 422, "unreadable-image"),
        (b"", JSON, 400, "malformed-json"),
        (b"{", JSON, 400, "malformed-json"),
        (b"\xff", JSON, 400, "malformed-json"),
        (b"[" * 100_000, JSON, 422, "invalid-request"),
        (b'{"images": [[[' + b"9" * 5_000 + b"]]]}", JSON, 422, "invalid-request"),
        (b'{"images": [[[' + b"9" * 4_000 + b"]]]}", JSON, 422, "invalid-request"),
        (b'{"images": [[[-Infinity, 1e999]]]}', JSON, 422, "invalid-request"),
        (b"{}", JSON, 422, "invalid-request"),
        (b"[]", JSON, 422, "invalid-request"),
        (b'{"images": []}', JSON, 422, "invalid-request"),
        (b'{"images": [1], "x": 1}', JSON, 422, "invalid-request"),
        (b'{"images": [[[NaN]]]}', JSON, 422, "invalid-request"),
        (b" " * (MAX_IMAGES_BYTES + 1), JSON, 413, "body-too-large"),
    ],
)
def test_unreadable_image_is_a_problem(
    client: httpx.Client, model_id: UUID, body: bytes, headers: dict[str, str], status: int, slug: str
) -> None:
    answer = client.post(f"/v1/models/{model_id}/predict", content=body, headers=headers)

    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")


@pytest.mark.parametrize(
    "images",
    [[BLACK] * 65, [[[0.5] * 28] * 27], [[[0.5] * 27] * 28], [[[255] * 28] * 28], [[[-0.1] * 28] * 28]],
)
def test_pixels_of_another_shape_are_refused(client: httpx.Client, model_id: UUID, images: Any) -> None:
    answer = client.post(f"/v1/models/{model_id}/predict", json={"images": images})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/images")


def test_images_of_one_request_with_too_many_pixels_together_are_refused(
    client: httpx.Client, model_id: UUID
) -> None:
    file = b64encode(_png(np.zeros((3_000, 3_000), bool))).decode()

    answer = client.post(f"/v1/models/{model_id}/predict", json={"images": [file, file]})

    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/image-too-large")


def test_unknown_model_is_not_found(client: httpx.Client) -> None:
    answer = client.post("/v1/models/champion/predict", json={"images": [WHITE]})

    assert answer.json()["type"] == "/problems/model-not-found"


def test_deleted_model_is_not_found_even_if_it_is_loaded(client: httpx.Client, model_id: UUID) -> None:
    path = f"/v1/models/{model_id}"
    assert client.post(f"{path}/predict", json={"images": [WHITE]}).status_code == 200

    client.delete(path)

    assert client.post(f"{path}/predict", json={"images": [WHITE]}).status_code == 404
