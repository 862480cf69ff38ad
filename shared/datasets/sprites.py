"""Sprites, in the TensorFlow.js codelab's layout: a PNG with one 28x28 image a row, and one-hot labels."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import SEEK_END
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from shared.datasets.mnist_form import PIXELS
from shared.errors import DataCorrupt

MAX_ROWS = 300_000  # Pillow needs 940 MB for that many rows of RGBA

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by the PNG's colour type
# the passes of Adam7, PNG's interlacing: the first column and row, and the distances to the next ones
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

_SIZE_END = 24  # the end of the PNG's numbers of columns and rows, 4 bytes each

HEAD_BYTES = 64
"""The number of first bytes from which the kind of a file, and the size of an image, can be read."""

_BAND_ROWS = 1_024
_CHUNK_BYTES = 2**20


def verify_sha256(file: BinaryIO, source: str, expected: str) -> None:
    """Verify a file's SHA-256 checksum, and return to the file's first byte.

    Args:
        file: open at its first byte.
        source: the file's name in error messages.
        expected: 64 hexadecimal digits; empty: any checksum is accepted.

    Raises:
        DataCorrupt: the checksums differ.
    """
    if not expected:
        return
    digest = sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    size = file.tell()
    file.seek(0)
    if digest.hexdigest() != expected.lower():
        actual = f"SHA-256 {digest.hexdigest()} ({size:,} bytes: {_kind(file.read(64))})"
        raise _corrupt(source, f"SHA-256 {expected.lower()}", actual)


@dataclass(frozen=True)
class Bands:
    """The images of a sprite, decoded but not all converted at once: 51 MB for MNIST, and 1 MB for a band.

    The length is the number of images. Iterating yields arrays of shape (up to 1,024, 784) with the grey
    values or the red channel; of 16-bit values, the upper 8 bits.
    """

    png: Image.Image

    def __len__(self) -> int:
        return self.png.size[1]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        columns, rows = self.png.size
        for top in range(0, rows, _BAND_ROWS):
            yield _grey(self.png.crop((0, top, columns, min(top + _BAND_ROWS, rows))))


def decode_images(file: BinaryIO, source: str, min_rows: int) -> Bands:
    """Return the images of a sprite.

    A truncated PNG is refused, and so is a PNG whose compressed data is complete but has fewer pixels than
    its header declares: Pillow does not report the missing pixels, and they would be black.

    Args:
        file: a PNG of any colour type and depth, open at its first byte.
        source: the file's name in error messages.
        min_rows: the least number of rows.

    Raises:
        DataCorrupt: the file is not such a PNG, or is damaged.
    """
    expected = _expected_images(min_rows)
    head = file.read(HEAD_BYTES)
    if not head.startswith(_SIGNATURE[:4]):
        raise _corrupt(source, expected, _kind(head))
    with _corrupt_if_damaged(source, expected):
        # not Image.open: it tries other decoders, and its limit of the size is global and only a warning
        file.seek(0)
        png = PngImageFile(file)
    _check_size(png.size, source, min_rows)
    with _corrupt_if_damaged(source, expected):
        file.seek(0)
        _verify_pixels(file)
        file.seek(0)
        png = PngImageFile(file)
        png.load()
    return Bands(png)


def check_head(head: bytes, source: str, min_rows: int) -> int:
    """Return the number of rows of a sprite from its first bytes alone; the rest of the file is not checked.

    Args:
        head: the first `HEAD_BYTES`, or all if there are fewer.

    Raises:
        DataCorrupt: `decode_images` would refuse the file.
    """
    if not head.startswith(_SIGNATURE) or len(head) < _SIZE_END:
        raise _corrupt(source, _expected_images(min_rows), _kind(head))
    columns, rows = struct.unpack_from(">II", head, _SIZE_END - 8)
    _check_size((columns, rows), source, min_rows)
    return int(rows)


def _check_size(size: tuple[int, int], source: str, min_rows: int) -> None:
    columns, rows = size
    if columns != PIXELS or not min_rows <= rows <= MAX_ROWS:
        limit = f", more than the {MAX_ROWS:,} that are allowed" if rows > MAX_ROWS else ""
        raise _corrupt(source, _expected_images(min_rows), f"{columns:,} columns and {rows:,} rows{limit}")


def _expected_images(min_rows: int) -> str:
    return f"a PNG of {PIXELS} columns and at least {min_rows:,} rows"


def check_labels_size(size: int, source: str, rows: int, classes: int) -> None:
    """Check the number of bytes of a sprite's labels.

    Raises:
        DataCorrupt: `decode_labels` would refuse them.
    """
    if size != rows * classes:
        raise _corrupt(source, _expected_labels(rows, classes), f"{size:,} bytes")


def _expected_labels(rows: int, classes: int) -> str:
    return f"{rows * classes:,} bytes, {classes} for each of {rows:,} images, one of them 1 and the others 0"


def decode_labels(file: BinaryIO, source: str, rows: int, classes: int) -> NDArray[np.uint8]:
    """Return the labels of a sprite, (rows,): the index of the byte that is 1 in each row of `classes` bytes.

    Args:
        file: open at its first byte.
        source: the file's name in error messages.

    Raises:
        DataCorrupt: there are not `rows` one-hot labels.
    """
    expected = _expected_labels(rows, classes)
    raw = file.read(rows * classes + 1)
    if len(raw) != rows * classes:
        size = file.seek(0, SEEK_END)
        raise _corrupt(source, expected, f"{size:,} bytes: {_kind(raw[:64])}")
    one_hot = np.frombuffer(raw, np.uint8).reshape(rows, classes)
    wrong = np.flatnonzero((one_hot.max(axis=1) != 1) | (one_hot.sum(axis=1) != 1))
    if wrong.size:
        first = f"{one_hot[wrong[0]].tolist()} for image {wrong[0]:,}"
        raise _corrupt(source, expected, f"{first}, the first of {wrong.size:,} wrong labels")
    labels: NDArray[np.uint8] = one_hot.argmax(axis=1).astype(np.uint8)
    return labels


def _kind(head: bytes) -> str:
    """Describe a file for an error message, by its first bytes."""
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


def _verify_pixels(file: BinaryIO) -> None:
    """Raise ValueError unless a PNG is complete, its checksums hold, and it has the pixels it declares."""
    file.seek(len(_SIGNATURE))
    missing, decompressor = 0, zlib.decompressobj()
    for kind, data in _chunks(file):
        if kind == b"IHDR":
            missing = _pixel_bytes(data)
        while kind == b"IDAT" and data and missing > 0:
            missing -= len(decompressor.decompress(data, _CHUNK_BYTES))
            data = decompressor.unconsumed_tail
    missing -= len(decompressor.flush())
    if missing > 0:
        raise ValueError(f"image file is truncated: {missing:,} bytes of its pixels are missing")


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the data of each chunk of a PNG up to `IEND`, long ones in several pieces."""
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", _read(file, 8))
        checksum = zlib.crc32(kind)
        while length:
            data = _read(file, min(length, _CHUNK_BYTES))
            checksum, length = zlib.crc32(data, checksum), length - len(data)
            yield kind, data
        if checksum != int.from_bytes(_read(file, 4), "big"):
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("image file is truncated")
    return data


def _pixel_bytes(header: bytes) -> int:
    """Return the size of a PNG's decompressed data: for each line a byte for its filter, and its pixels."""
    columns, rows, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _SAMPLES[colour]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(len(range(x, columns, dx)), len(range(y, rows, dy))) for x, y, dx, dy in passes]
    return sum(lines * (1 + (width * bits + 7) // 8) for width, lines in sizes if width)


def _grey(band: Image.Image) -> NDArray[np.uint8]:
    if band.mode == "L":
        return np.asarray(band)
    if band.mode.startswith("I"):  # 16 bits
        return (np.asarray(band) // 256).astype(np.uint8)
    return np.asarray(band.convert("RGBA").getchannel("R"))


@contextmanager
def _corrupt_if_damaged(source: str, expected: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow raises a dozen types for damaged PNGs
        raise _corrupt(source, expected, f"a damaged PNG ({error})") from error


def _corrupt(source: str, expected: str, actual: str) -> DataCorrupt:
    return DataCorrupt(
        f"{source}: expected {expected}; found {actual}. Correct the file, or its address or SHA-256 in the "
        "settings."
    )
