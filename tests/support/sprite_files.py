"""Factories of small sprites: images, labels, and PNG files of all kinds."""

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PIXELS = 784


def make_images(rows: int) -> NDArray[np.uint8]:
    """Return reproducible noise, (rows, 784)."""
    return np.random.default_rng(rows).integers(0, 256, (rows, PIXELS), np.uint8)


def make_labels(rows: int) -> NDArray[np.uint8]:
    """Return the labels 9 to 0 in turn, (rows,)."""
    return (9 - np.arange(rows) % 10).astype(np.uint8)


def one_hot(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return labels in a sprite's format, (rows, 10)."""
    return np.eye(10, dtype=np.uint8)[labels]


def grey_png(images: NDArray[np.uint8]) -> bytes:
    """Return a greyscale PNG of 8 bits."""
    return pillow_png(Image.fromarray(images))


def pillow_png(image: Image.Image) -> bytes:
    """Return an image as a PNG that Pillow wrote."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def raw_png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    lines: list[bytes],
    *,
    cut_bytes: int = 0,
    interlaced: bool = False,
) -> bytes:
    """Return a PNG of a kind that Pillow does not write, or an invalid one; lines are not filtered.

    The checksum of every chunk is right, even if the compressed data lacks its last `cut_bytes`.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    compressed = zlib.compress(b"".join(b"\0" + line for line in lines))
    data = compressed[: len(compressed) - cut_bytes]
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def interlaced_png(images: NDArray[np.uint8], *, passes: int = 7) -> bytes:
    """Return an interlaced greyscale PNG of 8 bits with the first of its seven passes; the others lack."""
    places = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    lines = [line.tobytes() for x, y, dx, dy in places[:passes] for line in images[y::dy, x::dx]]
    rows, columns = images.shape
    return raw_png(columns, rows, 8, 0, lines, interlaced=True)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
