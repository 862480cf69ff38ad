"""A sprite as the TensorFlow.js codelab lays it out: a PNG with one 28x28 image a row, and one-hot labels."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from shared.errors import DataCorrupt

PIXELS = 28 * 28
MAX_ROWS = 300_000  # of an RGBA sprite, Pillow holds 940 MB

_BAND_ROWS = 1_024
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by a PNG's colour type


def decode_images(file: BinaryIO, source: str, min_rows: int) -> NDArray[np.uint8]:
    """The images of a sprite, (rows, 784): grey as it is, of colours the red channel, of 16 bits the upper 8.

    Args:
        file: the PNG, of any colour type and depth, seekable.
        source: what errors call it.
        min_rows: how many rows it must have at least.

    Raises:
        DataCorrupt: it is not such a PNG, or it is damaged.
    """
    expected = f"a PNG of {PIXELS} columns and at least {min_rows:,} rows"
    head = file.read(64)
    if not head.startswith(b"\x89PNG"):
        raise _corrupt(source, expected, _seeming(head))
    with _damage_refused(source, expected):
        png = _checked(file)
    columns, rows = png.size
    if columns != PIXELS or not min_rows <= rows <= MAX_ROWS:
        limit = f", more than the {MAX_ROWS:,} that are allowed" if rows > MAX_ROWS else ""
        raise _corrupt(source, expected, f"{columns:,} columns and {rows:,} rows{limit}")
    with _damage_refused(source, expected):
        png.load()
        if png.crop((0, rows - 1, columns, rows)).getbbox() is None:
            _count_pixels(file, columns, rows)
    return _grey(png)


def decode_labels(file: BinaryIO, source: str, rows: int, classes: int) -> NDArray[np.uint8]:
    """The labels of a sprite, (rows,), each the index of the one among its `classes` bytes of 0 or 1.

    Args:
        file: the one-hot labels, seekable.
        source: what errors call it.
        rows: how many images there are.
        classes: bytes a row.

    Raises:
        DataCorrupt: there are not `rows` one-hot labels.
    """
    expected = (
        f"{rows * classes:,} bytes, {classes} for each of {rows:,} images, one of them 1 and the others 0"
    )
    raw = file.read(rows * classes + 1)
    if len(raw) != rows * classes:
        size = file.seek(0, 2)
        raise _corrupt(source, expected, f"{size:,} bytes: {_seeming(raw[:64])}")
    one_hot = np.frombuffer(raw, np.uint8).reshape(rows, classes)
    wrong = np.flatnonzero((one_hot.max(axis=1) != 1) | (one_hot.sum(axis=1) != 1))
    if wrong.size:
        first = f"{one_hot[wrong[0]].tolist()} for image {wrong[0]:,}"
        raise _corrupt(source, expected, f"{first}, the first of {wrong.size:,} wrong labels")
    labels: NDArray[np.uint8] = one_hot.argmax(axis=1).astype(np.uint8)
    return labels


def _seeming(head: bytes) -> str:
    """What a file seems to be by its first bytes, in words for an error message."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "an empty file"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if text.startswith((b"{", b"[")):
        return "JSON"
    if head.startswith(b"\x89PNG"):
        return "a PNG"
    return f"a file that begins with {head[:16]!r}"


def _checked(file: BinaryIO) -> PngImageFile:
    """The PNG, not decoded yet, after every checksum in it held.

    Made directly, and not by `Image.open`: only PNG's decoder ever sees the bytes, and the size is ours to
    limit (Pillow's own limit is a warning, and global).
    """
    file.seek(0)
    PngImageFile(file).verify()
    file.seek(0)
    return PngImageFile(file)


def _count_pixels(file: BinaryIO, columns: int, rows: int) -> None:
    """Raise `ValueError` if a PNG's data ends before its last row.

    Pillow says nothing then, and leaves the missing rows 0: so this is for a PNG whose last row is 0. An
    interlaced one is not counted, because its last row is not its last data.
    """
    file.seek(24)
    depth, colour, _, _, interlaced = file.read(5)
    line = 1 + -(-columns * depth * _CHANNELS[colour] // 8)
    missing = 0 if interlaced else rows * line
    inflater = zlib.decompressobj()
    file.seek(8)
    while missing > 0 and (head := file.read(8))[4:] != b"IEND":
        data = file.read(int.from_bytes(head[:4]) + 4)[:-4]
        if head[4:] == b"IDAT":
            missing -= len(inflater.decompress(data, missing))
    if missing:
        raise ValueError(f"its data ends {-(-missing // line):,} rows early")


def _grey(png: Image.Image) -> NDArray[np.uint8]:
    columns, rows = png.size
    images = np.empty((rows, columns), np.uint8)
    for top in range(0, rows, _BAND_ROWS):  # by bands, so that what conversions need stays small
        band = png.crop((0, top, columns, min(top + _BAND_ROWS, rows)))
        images[top : top + _BAND_ROWS] = _grey_band(band)
    return images


def _grey_band(band: Image.Image) -> NDArray[np.integer]:
    if band.mode == "L":
        return np.asarray(band)
    if band.mode.startswith("I"):  # 16 bits
        return np.asarray(band) // 256
    return np.asarray(band.convert("RGBA").getchannel("R"))


@contextmanager
def _damage_refused(source: str, expected: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow has no error of its own for a damaged PNG, and raises a dozen others
        raise _corrupt(source, expected, f"a damaged PNG ({error})") from error


def _corrupt(source: str, expected: str, found: str) -> DataCorrupt:
    return DataCorrupt(
        f"{source}: expected {expected}; found {found}. Correct the file, or its address in the settings."
    )
