"""Pictures of any kind become what MNIST's images are."""

from base64 import b64decode
from io import BytesIO
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from api.prediction import mnist_images
from api.routes.datasets import draw
from shared.datasets.catalog import Dataset, DatasetInfo
from shared.errors import PictureTooLarge, UnreadablePicture
from tests.support.onnx_models import make_drawing


def _file(pixels: npt.NDArray[Any], format_: str = "PNG") -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format_)
    return file.getvalue()


def _seen(picture: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    seen = mnist_images.like_mnist(image)
    assert seen is not None
    return seen.astype(np.int64)


def _seven(side: int = 280) -> npt.NDArray[np.uint8]:
    drawing = np.full((side, side), 255, np.uint8)
    drawing[side // 10 : side // 5, side // 10 : side // 2] = 0
    drawing[side // 10 : side * 4 // 5, side * 2 // 5 : side // 2] = 0
    return drawing


def test_a_digit_is_white_on_black_fits_20_pixels_and_is_centred_by_mass() -> None:
    seen = _seen(_seven())

    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert (len(rows), len(columns)) == (20, 11)  # 196 x 112 pixels were drawn
    assert (seen.max(), seen[0].max()) == (255, 0)
    for axis in (0, 1):
        centre = np.average(np.arange(28), weights=seen.sum(axis=1 - axis))
        assert abs(centre - 14) <= 0.5


@pytest.mark.parametrize(
    "changed",
    [
        lambda drawing: 255 - drawing,
        lambda drawing: np.stack([drawing] * 3, axis=-1),
        lambda drawing: np.pad(drawing, ((0, 333), (77, 0)), constant_values=255),
        lambda drawing: drawing // 2 + 100,
        lambda drawing: drawing.astype(bool),
        lambda drawing: np.where(drawing == 0, drawing + 20, drawing - np.arange(280) % 5).astype(np.uint8),
    ],
    ids=["white on black", "colours", "elsewhere", "faint", "one bit", "grainy paper"],
)
def test_how_a_digit_was_drawn_changes_little(changed: Any) -> None:
    difference = np.abs(_seen(_seven()) - _seen(changed(_seven())))

    assert difference.mean() < 3


@pytest.mark.parametrize("side", [28, 56, 1000, 3000])
def test_the_size_of_a_picture_changes_little(side: int) -> None:
    assert np.abs(_seen(_seven()) - _seen(_seven(side))).mean() < 8


@pytest.mark.parametrize("stroke", [0, 255])
def test_what_is_drawn_on_nothing_is_seen_whatever_its_colour(stroke: int) -> None:
    drawing = _seven()
    rgba = np.dstack([np.full((280, 280, 3), stroke, np.uint8), 255 - drawing])

    assert (_seen(Image.fromarray(rgba)) == _seen(drawing)).all()


@pytest.mark.parametrize("mode", ["RGB", "LA", "RGBA"])
def test_a_picture_that_nothing_shines_through_is_seen_as_a_grey_one(mode: str) -> None:
    drawing = Image.fromarray(make_drawing())

    assert (_seen(drawing.convert(mode)) == _seen(drawing)).all()


def test_16_bits_a_pixel_are_seen_as_8() -> None:
    deep = (_seven().astype(np.uint16) << 7) + 999

    assert np.abs(_seen(mnist_images.read(_file(deep))) - _seen(_seven())).mean() < 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_kind_of_picture_is_read(mode: str) -> None:
    assert _seen(Image.fromarray(_seven()).convert("RGB").convert(mode)).max() == 255


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (1, 900), (2000, 3)])
@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_picture_of_nothing_shows_nothing(shape: tuple[int, int], grey: int) -> None:
    assert mnist_images.like_mnist(Image.fromarray(np.full(shape, grey, np.uint8))) is None
    assert mnist_images.like_mnist(Image.new("RGBA", shape)) is None


@pytest.mark.parametrize("shape", [(1, 2), (3, 1), (5, 4000), (4000, 5)])
def test_pictures_of_any_shape_are_seen(shape: tuple[int, int]) -> None:
    picture = np.full(shape, 255, np.uint8)
    picture[:5, :5] = 0
    picture[-1, -1] = 255

    assert _seen(picture).max() > 0


def test_jpeg_is_read_as_png_is() -> None:
    png, jpeg = (_seen(mnist_images.read(_file(_seven(), name))) for name in ("PNG", "JPEG"))

    assert np.abs(png - jpeg).mean() < 3


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"no picture at all",
        _file(make_drawing())[:60],
        _file(make_drawing())[:-30],
        _file(make_drawing(), "JPEG")[:200],
        _file(make_drawing(), "GIF"),
        _file(make_drawing(), "TIFF"),
    ],
    ids=["nothing", "text", "half a head", "no end", "half a JPEG", "GIF", "TIFF"],
)
def test_what_is_no_whole_png_or_jpeg_is_refused(file: bytes) -> None:
    with pytest.raises(UnreadablePicture):
        mnist_images.read(file)


def test_a_flipped_byte_never_brings_another_error() -> None:
    file, random = _file(_seven(40)), np.random.default_rng(1)
    for position in random.choice(len(file), 60, replace=False):
        damaged = bytearray(file)
        damaged[position] ^= 0xFF
        try:
            mnist_images.read(bytes(damaged))
        except (UnreadablePicture, PictureTooLarge):
            continue


@pytest.mark.parametrize("side", [4_097, 12_000, 20_000])
def test_a_small_file_with_many_pixels_is_refused_before_it_is_decoded(side: int) -> None:
    file = BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    half = file.getvalue()[: len(file.getvalue()) // 2]  # what is left cannot be decoded

    with pytest.raises(PictureTooLarge, match="16,777,216"):
        mnist_images.read(half)


def test_the_pixels_of_one_request_are_counted_together() -> None:
    file = _file(make_drawing(100))

    assert mnist_images.read(file, 10_000).size == (100, 100)
    with pytest.raises(PictureTooLarge, match="100 x 100"):
        mnist_images.read(file, 9_999)


NAMES = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


@pytest.fixture
def dataset() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (30, 784), dtype=np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)
    info = DatasetInfo("tiny", 10, 20, 10, 10, 10, NAMES)
    return Dataset(info, images[:10], labels[:10], images[10:], labels[10:])


def test_a_sample_is_the_test_image_and_its_label(dataset: Dataset) -> None:
    for sample in draw(dataset, 5, Random(1)).data:
        prefix, encoded = sample.image.split(",")
        pixels = np.asarray(Image.open(BytesIO(b64decode(encoded))))

        assert prefix == "data:image/png;base64"
        assert pixels.shape == (28, 28)
        assert (pixels.reshape(784) == dataset.test_images[sample.index]).all()
        assert sample.label == dataset.test_labels[sample.index]
        assert sample.name == NAMES[sample.label]


def test_no_image_is_drawn_twice(dataset: Dataset) -> None:
    assert sorted(sample.index for sample in draw(dataset, 20, Random(1)).data) == list(range(20))


def test_all_images_are_drawn_where_there_are_fewer_than_asked_for(dataset: Dataset) -> None:
    assert len(draw(dataset, 200, Random(1)).data) == 20


def test_the_same_seed_draws_the_same_images(dataset: Dataset) -> None:
    assert draw(dataset, 5, Random(1)) == draw(dataset, 5, Random(1)) != draw(dataset, 5, Random(2))
