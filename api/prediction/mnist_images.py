"""Conversion of images of digits, of any size and colour, to MNIST's form; and of such images to PNG."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from shared.datasets.catalog import Dataset
from shared.datasets.mnist_form import SIDE, to_mnist_form
from shared.errors import ImageTooLarge, UnreadableImage
from shared.schemas import Sample, Split

MAX_PIXELS = 2**24  # in all images of one request: one photograph of 16 megapixels, or 64 images of 512x512

_MAX_SIDE = 1024  # a longer side is reduced by averaging, so that no stroke is lost
# a large image is converted and reduced in tiles, since copies of the whole would take 192 MB
_TILE_SIDE = 1024
_MIN_CONTRAST = 32  # out of 255; an image with less contrast is blank
_MIN_INK = 0.1  # a fraction of the darkest ink; fainter marks are the paper's grain or JPEG artefacts

_FORMATS = ("PNG", "JPEG")


class Decoded(NamedTuple):
    """A decoded file.

    Attributes:
        image: the decoded image; that of a large JPEG is smaller than the file says.
        pixels: the number of pixels that the file says.
    """

    image: Image.Image
    pixels: int


def decode(file: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a PNG or JPEG file.

    Raises:
        UnreadableImage: the file is not a PNG or JPEG, or it is damaged.
        ImageTooLarge: the image has more than `max_pixels` pixels; this is checked before decoding.
    """
    try:
        image = Image.open(BytesIO(file), formats=_FORMATS)
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise ImageTooLarge(
                f"the image has {image.width:,} x {image.height:,} pixels, and the images of one request may "
                f"have {MAX_PIXELS:,} together: send fewer or smaller images"
            )
        if max(image.size) > _MAX_SIDE:
            # affects a JPEG only, which is then decoded in grey, at a fraction of its size
            image.draft("L", (_MAX_SIDE, _MAX_SIDE))
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"the image has more than {MAX_PIXELS:,} pixels: send a smaller one") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("the image is neither a PNG nor a JPEG file") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow raises these for damaged files
        raise UnreadableImage(f"the image is damaged: {error}") from error
    return Decoded(image, pixels)


def convert(image: Image.Image) -> NDArray[np.uint8]:
    """Return the digit in MNIST's form, shape (28, 28), white on black; all black if the image is blank.

    Transparent parts become paper, colours grey, and everything that differs from the paper becomes ink, at
    full contrast. The rest is done by `shared.datasets.mnist_form`.
    """
    ink = _ink(_grey(image))
    darkest = int(ink.max())
    if darkest < _MIN_CONTRAST:
        return np.zeros((SIDE, SIDE), np.uint8)
    levels = np.arange(256)
    scaled = np.where(levels < _MIN_INK * darkest, 0, np.minimum(levels * (255 / darkest), 255))
    return to_mnist_form(scaled.round().astype(np.uint8)[ink])


# in bytes, not floats: a canvas has 80,000 pixels, and memory traffic costs more than arithmetic
def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return the luminance; transparent parts become black or white, in contrast to the drawing."""
    rgba = _reduced(image)
    grey, alpha = np.asarray(rgba.convert("L")), rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return grey
    opacity = np.asarray(alpha, np.float64) / 255
    mean = float((grey * opacity).sum() / max(float(opacity.sum()), 1.0))
    paper = 255.0 if mean < 128 else 0.0
    return (grey * opacity + paper * (1 - opacity)).round().astype(np.uint8)


def _reduced(image: Image.Image) -> Image.Image:
    """Return the image in the mode RGBA, with at most `_MAX_SIDE` pixels a side."""
    factor = -(-max(image.size) // _MAX_SIDE)
    if factor == 1:
        return _rgba(image)
    reduced = Image.new("RGBA", (-(-image.width // factor), -(-image.height // factor)))
    side = factor * max(1, _TILE_SIDE // factor)  # so that no tile ends within a pixel of the result
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            right, bottom = min(left + side, image.width), min(top + side, image.height)
            tile = _rgba(image.crop((left, top, right, bottom)))
            reduced.paste(tile.reduce(factor), (left // factor, top // factor))
    return reduced


def _rgba(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGBA")


def _ink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return each pixel's difference from the paper, the median grey, in the direction of the ink."""
    paper = np.uint8(np.median(grey))
    lighter, darker = np.maximum(grey, paper) - paper, paper - np.minimum(grey, paper)
    return lighter if lighter.sum() > darker.sum() else darker


def data_url(pixels: NDArray[np.uint8]) -> str:
    """Return a 28x28 image, given as 784 pixels in any shape, as the `data:` URL of a PNG file."""
    return f"data:image/png;base64,{b64encode(png(pixels)).decode()}"


def samples(dataset: Dataset, split: Split, rows: Sequence[int]) -> tuple[Sample, ...]:
    """Return images of a split with their labels and the names of their classes."""
    images, labels = dataset.split(split)
    return tuple(
        Sample(
            index=row,
            label=labels[row],
            name=dataset.info.class_names[labels[row]],
            image=data_url(images[row]),
        )
        for row in rows
    )


def png(images: NDArray[np.uint8]) -> bytes:
    """Return 28x28 images, given as their pixels in any shape, as one PNG file, one below the other."""
    file = BytesIO()
    Image.fromarray(images.reshape(-1, SIDE)).save(file, "PNG")
    return file.getvalue()
