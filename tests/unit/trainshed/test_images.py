"""Every form of an image becomes a request."""

from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.drawings import STROKES, draw
from trainshed import UsageError
from trainshed.images import body_of

BLANK = np.zeros((28, 28))


def png() -> bytes:
    file = BytesIO()
    draw(STROKES[3]).save(file, "PNG")
    return file.getvalue()


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(content)))


def test_a_path_and_bytes_are_sent_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "digit.png"
    path.write_bytes(png())
    expected = {"content": png(), "headers": {"Content-Type": "image/png"}}
    assert body_of(path) == body_of(str(path)) == body_of(png()) == expected
    assert body_of(b"\xff\xd8...")["headers"] == {"Content-Type": "image/jpeg"}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
def test_an_image_of_pillow_is_sent_as_png(mode: str) -> None:
    image = draw(STROKES[3]).convert(mode)
    assert (pixels(body_of(image)["content"]) == np.asarray(image)).all()


@pytest.mark.parametrize(
    ("value", "dtype", "sent"),
    [(0.5, "float32", 0.5), (255, "uint8", 1.0), (51, "int64", 0.2), (True, "bool", 1.0)],
)
def test_an_array_is_sent_as_values_from_0_to_1(value: float, dtype: str, sent: float) -> None:
    [image] = body_of(np.full((28, 28), value, dtype))["json"]["images"]
    assert (len(image), len(image[0]), image[0][0]) == (28, 28, sent)


def test_a_stack_of_arrays_and_a_list_of_several_forms_are_several_images() -> None:
    assert len(body_of(np.zeros((5, 28, 28)))["json"]["images"]) == 5
    file, array, rows = body_of([png(), BLANK, BLANK.tolist()])["json"]["images"]
    assert b64decode(file) == png()
    assert array == rows == BLANK.tolist()


@pytest.mark.parametrize("shape", [(28, 27), (1, 1, 28, 28), (784,)])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="shape"):
        body_of(np.zeros(shape))


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        body_of("nowhere/digit.png")
    with pytest.raises(UsageError, match="int is not an image"):
        body_of(42)  # type: ignore[arg-type]
