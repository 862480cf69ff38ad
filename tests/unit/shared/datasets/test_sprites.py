"""Each kind of PNG decodes to the same bytes, and a file that is not a sprite is refused with a reason."""

import re
import warnings
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.datasets.sprites import MAX_ROWS, decode_images, decode_labels, verify_sha256
from shared.errors import DataCorrupt
from tests.support.sprite_files import (
    grey_png,
    interlaced_png,
    make_images,
    make_labels,
    one_hot,
    pillow_png,
    raw_png,
)

SOURCE = "http://example.test/file"
ROWS = 12
IMAGES = make_images(ROWS)
LABELS = make_labels(ROWS)


def decode(png: bytes, min_rows: int = ROWS) -> NDArray[np.uint8]:
    bands = decode_images(BytesIO(png), SOURCE, min_rows)
    images = np.concatenate(list(bands))
    assert len(bands) == len(images)
    return images


def labels_of(raw: bytes, rows: int = ROWS) -> NDArray[np.uint8]:
    return decode_labels(BytesIO(raw), SOURCE, rows, 10)


def colours(red: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([red, red // 2, 255 - red], axis=-1)


def palette_png(red: NDArray[np.uint8], **options: object) -> bytes:
    image = Image.fromarray(255 - red).convert("P")
    image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def sixteen_bits(values: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return values.astype(np.uint16) * 256 + 99


KINDS: dict[str, Callable[[NDArray[np.uint8]], bytes]] = {
    "grey": grey_png,
    "grey and alpha": lambda grey: pillow_png(Image.fromarray(np.stack([grey, 255 - grey], axis=-1), "LA")),
    "grey, interlaced": interlaced_png,
    "grey, 16 bits": lambda grey: pillow_png(Image.fromarray(sixteen_bits(grey))),
    "RGB": lambda red: pillow_png(Image.fromarray(colours(red))),
    "RGBA": lambda red: pillow_png(Image.fromarray(np.dstack([colours(red), red // 3]))),
    "RGB, 16 bits": lambda red: raw_png(
        784, len(red), 16, 2, [line.astype(">u2").tobytes() for line in sixteen_bits(colours(red))]
    ),
    "palette": palette_png,
    "palette with transparency": lambda red: palette_png(red, transparency=bytes(range(256))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_png_decodes_to_the_same_bytes(kind: str) -> None:
    images = decode(KINDS[kind](IMAGES))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)


@pytest.mark.parametrize(("depth", "levels"), [(1, 2), (2, 4), (4, 16)])
def test_grey_of_fewer_bits_is_scaled_to_0_to_255(depth: int, levels: int) -> None:
    values = IMAGES % levels
    bits = np.unpackbits(values[..., None], axis=-1)[..., -depth:].reshape(ROWS, -1)
    png = raw_png(784, ROWS, depth, 0, [line.tobytes() for line in np.packbits(bits, axis=-1)])
    np.testing.assert_array_equal(decode(png), values * (255 // (levels - 1)))


def test_black_and_white_becomes_0_and_255() -> None:
    np.testing.assert_array_equal(
        decode(pillow_png(Image.fromarray(IMAGES > 99))), np.where(IMAGES > 99, 255, 0)
    )


def test_rows_that_span_several_bands_keep_their_places() -> None:
    images = make_images(2_500)
    np.testing.assert_array_equal(decode(grey_png(images), 2_500), images)


def test_rows_beyond_the_minimum_are_returned_too() -> None:
    assert decode(grey_png(IMAGES), min_rows=5).shape == (ROWS, 784)


def test_a_sprite_above_pillows_warning_limit_is_decoded_without_a_warning() -> None:
    rows = (Image.MAX_IMAGE_PIXELS or 0) // 784 + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(raw_png(784, rows, 1, 0, [bytes(98)] * rows), rows).shape == (rows, 784)


def test_too_many_rows_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(DataCorrupt, match=r"300,001 rows, more than the 300,000 that are allowed"):
        decode(raw_png(784, MAX_ROWS + 1, 8, 0, []))


@pytest.mark.parametrize("columns", [783, 785])
def test_another_number_of_columns_is_refused(columns: int) -> None:
    with pytest.raises(DataCorrupt, match=f"found {columns} columns and 2 rows"):
        decode(raw_png(columns, 2, 8, 0, [bytes(columns)] * 2), 2)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataCorrupt, match=r"784 columns and at least 13 rows; found 784 columns and 12 rows"):
        decode(grey_png(IMAGES), ROWS + 1)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"\n" * 20 + b"<!DOCTYPE html><html>Sign in</html>", "an HTML page"),
        (b"\xef\xbb\xbf<HTML><body>", "an HTML page"),
        (b'{"error": "not found"}', "JSON"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", r"a file that begins with b'\xff\xd8\xff\xe0\x00\x10JFIF'"),
        (one_hot(LABELS).tobytes(), "a file that begins with"),
        (b"\x89PNG\r\n\x1a\n", "a damaged PNG"),
    ],
)
def test_a_file_that_is_not_a_png_is_refused_with_its_kind(content: bytes, kind: str) -> None:
    with pytest.raises(DataCorrupt, match=f"^{SOURCE}: expected a PNG of .*found {re.escape(kind)}"):
        decode(content)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_png_is_refused(share: float) -> None:
    png = grey_png(IMAGES)
    with pytest.raises(DataCorrupt, match="found a damaged PNG"):
        decode(png[: int(len(png) * share)])


def test_a_png_whose_compressed_data_is_truncated_is_refused_though_every_checksum_holds() -> None:
    with pytest.raises(DataCorrupt, match=r"found a damaged PNG \(image file is truncated"):
        decode(raw_png(784, ROWS, 8, 0, [line.tobytes() for line in IMAGES], cut_bytes=2_000))


@pytest.mark.parametrize("passes", range(7))
def test_an_interlaced_sprite_without_its_last_passes_is_refused(passes: int) -> None:
    with pytest.raises(
        DataCorrupt, match=r"found a damaged PNG \(image file is truncated: [\d,]+ bytes of its"
    ):
        decode(interlaced_png(IMAGES, passes=passes))


@pytest.mark.parametrize("rows", [0, 1, ROWS - 1])
def test_a_png_whose_complete_data_has_too_few_rows_is_refused(rows: int) -> None:
    missing = f"{(ROWS - rows) * 785:,} bytes of its pixels are missing"
    with pytest.raises(DataCorrupt, match=f"truncated: {missing}"):
        decode(raw_png(784, ROWS, 8, 0, [line.tobytes() for line in IMAGES[:rows]]))


@pytest.mark.parametrize(
    "png", [grey_png(IMAGES[:2]), interlaced_png(IMAGES[:2])], ids=["plain", "interlaced"]
)
def test_a_png_truncated_at_any_byte_is_refused(png: bytes) -> None:
    for length in range(len(png)):
        with pytest.raises(DataCorrupt):
            decode(png[:length], 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sprite_of_every_kind_and_size_has_all_the_bytes_that_it_must_have(kind: str) -> None:
    for rows in range(1, 10):
        np.testing.assert_array_equal(decode(KINDS[kind](IMAGES[:rows]), rows), IMAGES[:rows])


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_black_images_at_the_end_are_accepted(colour: int, channels: int) -> None:
    assert not decode(raw_png(784, ROWS, 16, colour, [bytes(784 * 2 * channels)] * ROWS)).any()


def test_damaged_bytes_are_refused_or_leave_the_pixels_unchanged() -> None:
    images = np.zeros((2, 784), np.uint8)
    images[:, ::97] = 255
    png = grey_png(images)
    damaged = [png[:length] for length in range(len(png))]
    damaged += [png[:at] + bytes([png[at] ^ 4]) + png[at + 1 :] for at in range(len(png))]
    refused = 0
    for content in damaged:
        try:
            np.testing.assert_array_equal(decode(content, 2), images)
        except DataCorrupt:
            refused += 1
    assert refused == len(damaged)


CONTENT = b"the content of a file"
CHECKSUM = sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("expected", [CHECKSUM, CHECKSUM.upper(), ""])
def test_verifying_the_expected_checksum_rewinds_the_file(expected: str) -> None:
    file = BytesIO(CONTENT)
    verify_sha256(file, SOURCE, expected)
    assert file.read() == CONTENT


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (CONTENT[:-1], "20 bytes: a file that begins with b'the content of a'"),
        (b"<html>Sign in</html>", "20 bytes: an HTML page"),
        (b"", "0 bytes: an empty file"),
    ],
)
def test_a_file_with_another_checksum_is_refused_with_both_checksums_and_its_kind(
    content: bytes, kind: str
) -> None:
    actual = re.escape(f"{sha256(content).hexdigest()} ({kind})")
    with pytest.raises(DataCorrupt, match=f"^{SOURCE}: expected SHA-256 {CHECKSUM}; found SHA-256 {actual}"):
        verify_sha256(BytesIO(content), SOURCE, CHECKSUM)


def test_labels_are_the_indices_of_the_ones() -> None:
    labels = labels_of(one_hot(LABELS).tobytes())
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (one_hot(LABELS).tobytes()[:-1], "found 119 bytes"),
        (one_hot(LABELS).tobytes() + b"\0", "found 121 bytes"),
        (b"<!doctype html><html>Sign in</html>", "found 35 bytes: an HTML page"),
        (b'{"error": 404}' * 50, "found 700 bytes: JSON"),
        (grey_png(IMAGES), "bytes: a PNG"),
        (b"", "found 0 bytes: an empty file"),
    ],
)
def test_labels_of_another_length_are_refused(raw: bytes, problem: str) -> None:
    expected = "expected 120 bytes, 10 for each of 12 images, one of them 1 and the others 0"
    with pytest.raises(DataCorrupt, match=f"^{SOURCE}: {expected}; .*{problem}"):
        labels_of(raw)


@pytest.mark.parametrize(
    "label",
    [
        [0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 2, 0, 0, 0, 0, 0, 0],
        [1, 255, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
)
def test_labels_that_are_not_one_hot_are_refused_with_the_first_of_them(label: list[int]) -> None:
    rows = one_hot(LABELS)
    rows[7] = label
    with pytest.raises(
        DataCorrupt, match=re.escape(f"found {label} for image 7, the first of 1 wrong labels")
    ):
        labels_of(rows.tobytes())
