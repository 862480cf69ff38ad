"""Brings pictures of digits, of any size and colour, to the form of MNIST's images."""

from base64 import b64encode
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from shared.datasets import digits
from shared.errors import PictureTooLarge, UnreadablePicture

MAX_PIXELS = 2**24  # of all pictures of one request: a photograph of 16 megapixels, or 64 of 512x512

_LARGE = 1024  # a longer side is divided by the least whole number until it is not: no stroke is lost
_BLANK = 32  # of 255: a picture with less contrast shows nothing
_PAPER = 0.1  # of the darkest ink: what is fainter is the paper's grain, or what JPEG made of it

_FORMATS = ("PNG", "JPEG")


def read(file: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in a PNG or JPEG file, decoded.

    Raises:
        UnreadablePicture: it is no such file, or a damaged one.
        PictureTooLarge: it has more than `max_pixels` pixels; they are counted before they are decoded.
    """
    try:
        picture = Image.open(BytesIO(file), formats=_FORMATS)
        if picture.width * picture.height > max_pixels:
            raise PictureTooLarge(
                f"the picture has {picture.width:,} x {picture.height:,} pixels, and the pictures of one "
                f"request may have {MAX_PIXELS:,} in all: send fewer or smaller ones"
            )
        picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge(f"a picture may have {MAX_PIXELS:,} pixels, and this one has more") from error
    except UnidentifiedImageError as error:
        raise UnreadablePicture("the picture is neither a PNG nor a JPEG file") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files
        raise UnreadablePicture(f"the picture is damaged: {error}") from error
    return picture


def like_mnist(picture: Image.Image) -> NDArray[np.uint8] | None:
    """The digit as the model was taught to see it, (28, 28), white on black; None if there is none.

    Transparent parts become paper, colours grey, and whatever differs from the paper ink, at full contrast.
    The ink is cropped, fitted to 20x20 pixels with its proportions kept, antialiased, and its centre of mass
    moved to the middle of 28x28 (LeCun, Cortes, Burges: "The MNIST database of handwritten digits").
    """
    ink = _ink(_grey(picture))
    most = int(ink.max())
    if most < _BLANK:
        return None
    levels = np.arange(256)
    scaled = np.where(levels < _PAPER * most, 0, np.minimum(levels * (255 / most), 255))
    return digits.placed(scaled.round().astype(np.uint8)[ink])


# bytes, not floats: a canvas is 80,000 pixels, and each step of many bytes costs more than its sums
def _grey(picture: Image.Image) -> NDArray[np.uint8]:
    """Luminance, on a paper that what is drawn stands out from."""
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off and not scale
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    factor = -(-max(picture.size) // _LARGE)
    rgba = picture.convert("RGBA").reduce(factor) if factor > 1 else picture.convert("RGBA")
    grey, alpha = np.asarray(rgba.convert("L")), rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return grey
    opacity = np.asarray(alpha, np.float64) / 255
    drawn = float((grey * opacity).sum() / max(float(opacity.sum()), 1.0))
    paper = 255.0 if drawn < 128 else 0.0
    return (grey * opacity + paper * (1 - opacity)).round().astype(np.uint8)


def _ink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How far each pixel is from the paper, on the side where the digit is: most of a picture is paper."""
    paper = np.uint8(np.median(grey))
    lighter, darker = np.maximum(grey, paper) - paper, paper - np.minimum(grey, paper)
    return lighter if lighter.sum() > darker.sum() else darker


_SIDE = 28


def data_url(pixels: NDArray[np.uint8]) -> str:
    """A 28x28 image, in any shape of 784 pixels, as a PNG within an address."""
    file = BytesIO()
    Image.fromarray(pixels.reshape(_SIDE, _SIDE)).save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
