"""Small sprites as files: PNGs of every kind, and one-hot labels."""

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PIXELS = 784


def make_images(rows: int) -> NDArray[np.uint8]:
    """Noise, the same each time, (rows, 784)."""
    return np.random.default_rng(rows).integers(0, 256, (rows, PIXELS), np.uint8)


def make_labels(rows: int) -> NDArray[np.uint8]:
    """The classes 0 to 9 in turn, backwards, (rows,)."""
    return (9 - np.arange(rows) % 10).astype(np.uint8)


def one_hot(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The labels as a sprite has them, (rows, 10)."""
    return np.eye(10, dtype=np.uint8)[labels]


def grey_png(images: NDArray[np.uint8]) -> bytes:
    """A greyscale PNG of 8 bits."""
    return saved(Image.fromarray(images))


def saved(image: Image.Image) -> bytes:
    """An image as Pillow writes it as a PNG."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def raw_png(width: int, height: int, depth: int, colour: int, lines: list[bytes]) -> bytes:
    """A PNG made by hand, for kinds that Pillow does not write and for wrong ones; lines are not filtered."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
