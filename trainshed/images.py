"""Bodies of requests that classify images: files, Pillow images or arrays.

NumPy and Pillow are not imported: their arrays and images are recognized by their methods.
"""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from trainshed.errors import UsageError

_JPEG_SIGNATURE = b"\xff\xd8"


@runtime_checkable
class PilImage(Protocol):
    """A Pillow image."""

    def save(self, fp: IO[bytes], format: str) -> Any:
        """Write the image to a file."""


@runtime_checkable
class Array(Protocol):
    """A NumPy array, or a tensor with the same methods."""

    @property
    def shape(self) -> Any:
        """The array's dimensions."""

    @property
    def dtype(self) -> Any:
        """The type of the array's values."""

    def tolist(self) -> Any:
        """Return the array's values as nested lists."""


Rows = Sequence[Sequence[float]]
ImageLike = str | PathLike[str] | bytes | PilImage | Array | tuple[Sequence[float], ...]
"""An image: the path or the bytes of a file, a Pillow image, or 28x28 values."""


def body_of(images: "ImageLike | Sequence[ImageLike | Rows]") -> dict[str, Any]:
    """Return httpx's options for a request that classifies one image or a list of images.

    Raises:
        UsageError: an item is not an image, or a file cannot be read.
    """
    if isinstance(images, list):
        return {"json": {"images": [_encoded(image) for image in images]}}
    if isinstance(images, Array) and len(images.shape) == 3 and not isinstance(images, PilImage):
        return {"json": {"images": _rows(images)}}
    image = _file_or_rows(images)
    if isinstance(image, bytes):
        kind = "image/jpeg" if image.startswith(_JPEG_SIGNATURE) else "image/png"
        return {"content": image, "headers": {"Content-Type": kind}}
    return {"json": {"images": [image]}}


def _encoded(image: Any) -> Any:
    encoded = _file_or_rows(image)
    return b64encode(encoded).decode() if isinstance(encoded, bytes) else encoded


def _file_or_rows(image: Any) -> Any:
    """Return the bytes of an image file, or 28 rows of values from 0 to 1."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | PathLike):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise UsageError(f"{image} cannot be read: {error.strerror}") from error
    if isinstance(image, PilImage):
        file = BytesIO()
        image.save(file, "PNG")
        return file.getvalue()
    if isinstance(image, Array):
        return _rows(image)
    if isinstance(image, list | tuple):
        return image
    raise UsageError(
        f"{type(image).__name__} is not an image: give a path, the bytes of a PNG or JPEG file, an image of "
        "Pillow, or an array of 28x28 values"
    )


def _rows(array: Array) -> Any:
    """Return an array's values as nested lists; integers are divided by 255.

    Raises:
        UsageError: the array is neither 28x28 nor a stack of 28x28 images.
    """
    shape = tuple(array.shape)
    if shape[-2:] != (28, 28) or len(shape) > 3:
        raise UsageError(f"an array of shape {shape} is not 28x28: give it to Pillow, or its file")
    return _scaled(array.tolist(), 255 if "int" in str(array.dtype) else 1)


def _scaled(values: Any, white: int) -> Any:
    return [_scaled(row, white) for row in values] if isinstance(values, list) else values / white
