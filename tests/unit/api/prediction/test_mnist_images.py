"""Images of any kind are converted to MNIST's form."""

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from api.prediction import mnist_images
from shared.errors import ImageTooLarge, UnreadableImage
from tests.support.drawings import make_drawing


def _file(pixels: npt.NDArray[Any], format_: str = "PNG") -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format_)
    return file.getvalue()


def _convert(source: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    image = source if isinstance(source, Image.Image) else Image.fromarray(source)
    return mnist_images.convert(image).astype(np.int64)


def _seven(side: int = 280) -> npt.NDArray[np.uint8]:
    drawing = np.full((side, side), 255, np.uint8)
    drawing[side // 10 : side // 5, side // 10 : side // 2] = 0
    drawing[side // 10 : side * 4 // 5, side * 2 // 5 : side // 2] = 0
    return drawing


def test_digit_is_white_on_black_fits_20_pixels_and_is_centred_by_mass() -> None:
    converted = _convert(_seven())

    rows, columns = np.flatnonzero(converted.any(axis=1)), np.flatnonzero(converted.any(axis=0))
    assert (len(rows), len(columns)) == (20, 11)  # 196 x 112 pixels were drawn
    assert (converted.max(), converted[0].max()) == (255, 0)
    for axis in (0, 1):
        centre = np.average(np.arange(28), weights=converted.sum(axis=1 - axis))
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
def test_style_of_drawing_changes_little(changed: Any) -> None:
    difference = np.abs(_convert(_seven()) - _convert(changed(_seven())))

    assert difference.mean() < 3


@pytest.mark.parametrize("side", [28, 56, 1000, 3000])
def test_size_of_an_image_changes_little(side: int) -> None:
    assert np.abs(_convert(_seven()) - _convert(_seven(side))).mean() < 8


@pytest.mark.parametrize("stroke", [0, 255])
def test_stroke_of_any_colour_is_visible_on_transparency(stroke: int) -> None:
    drawing = _seven()
    rgba = np.dstack([np.full((280, 280, 3), stroke, np.uint8), 255 - drawing])

    assert (_convert(Image.fromarray(rgba)) == _convert(drawing)).all()


@pytest.mark.parametrize("mode", ["RGB", "LA", "RGBA"])
def test_opaque_image_is_converted_like_a_grey_one(mode: str) -> None:
    drawing = Image.fromarray(make_drawing())

    assert (_convert(drawing.convert(mode)) == _convert(drawing)).all()


def test_16_bits_a_pixel_are_scaled_to_8() -> None:
    deep = (_seven().astype(np.uint16) << 7) + 999

    assert np.abs(_convert(mnist_images.decode(_file(deep)).image) - _convert(_seven())).mean() < 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_is_converted(mode: str) -> None:
    assert _convert(Image.fromarray(_seven()).convert("RGB").convert(mode)).max() == 255


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (1, 900), (2000, 3)])
@pytest.mark.parametrize("grey", [0, 127, 255])
def test_blank_image_has_no_digit(shape: tuple[int, int], grey: int) -> None:
    assert not _convert(np.full(shape, grey, np.uint8)).any()
    assert not _convert(Image.new("RGBA", shape)).any()


def test_image_of_two_distant_dots_has_no_digit() -> None:
    drawing = np.full((1000, 1000), 255, np.uint8)
    drawing[0, 0] = drawing[-1, -1] = 0

    assert not _convert(drawing).any()


@pytest.mark.parametrize("shape", [(1, 2), (3, 1), (5, 4000), (4000, 5)])
def test_images_of_any_shape_are_converted(shape: tuple[int, int]) -> None:
    image = np.full(shape, 255, np.uint8)
    image[:5, :5] = 0
    image[-1, -1] = 255

    assert _convert(image).max() > 0


def test_jpeg_is_converted_like_png() -> None:
    png, jpeg = (_convert(mnist_images.decode(_file(_seven(), name)).image) for name in ("PNG", "JPEG"))

    assert np.abs(png - jpeg).mean() < 3


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"not an image",
        _file(make_drawing())[:60],
        _file(make_drawing())[:-30],
        _file(make_drawing(), "JPEG")[:200],
        _file(make_drawing(), "GIF"),
        _file(make_drawing(), "TIFF"),
    ],
    ids=["nothing", "text", "half a head", "no end", "half a JPEG", "GIF", "TIFF"],
)
def test_file_that_is_not_a_complete_png_or_jpeg_is_refused(file: bytes) -> None:
    with pytest.raises(UnreadableImage):
        mnist_images.decode(file)


def test_flipped_byte_never_raises_another_error() -> None:
    file, random = _file(_seven(40)), np.random.default_rng(1)
    for position in random.choice(len(file), 60, replace=False):
        damaged = bytearray(file)
        damaged[position] ^= 0xFF
        try:
            mnist_images.decode(bytes(damaged))
        except (UnreadableImage, ImageTooLarge):
            continue


@pytest.mark.parametrize("side", [4_097, 12_000, 20_000])
def test_a_small_file_with_many_pixels_is_refused_before_it_is_decoded(side: int) -> None:
    file = BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    half = file.getvalue()[: len(file.getvalue()) // 2]  # what is left cannot be decoded

    with pytest.raises(ImageTooLarge, match="16,777,216"):
        mnist_images.decode(half)


def test_pixels_of_one_request_are_counted_together() -> None:
    file = _file(make_drawing(100))

    assert mnist_images.decode(file, 10_000).image.size == (100, 100)
    with pytest.raises(ImageTooLarge, match="100 x 100"):
        mnist_images.decode(file, 9_999)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1_025, 1_025), (2_500, 1_300), (3_001, 7), (5, 4_099)])
def test_large_image_is_reduced_in_parts_as_it_would_be_as_a_whole(mode: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)

    reduced = mnist_images._reduced(image)

    assert reduced == image.convert("RGBA").reduce(-(-max(size) // 1_024))


def test_large_jpeg_is_decoded_at_a_fraction_of_its_size_and_counts_in_full() -> None:
    decoded = mnist_images.decode(_file(_seven(3_000), "JPEG"))

    assert (decoded.image.size, decoded.image.mode) == ((1_500, 1_500), "L")
    assert decoded.pixels == 9_000_000
    assert np.abs(_convert(decoded.image) - _convert(_seven())).mean() < 8
