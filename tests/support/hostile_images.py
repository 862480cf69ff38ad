"""Image files of a few kilobytes that take a lot of memory to decode, and one that claims to."""

import zlib
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image, PngImagePlugin

SIDE = 4_096  # as many pixels as the images of one request may have


def _file(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _blank(mode: str, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    return Image.new(mode, size)


def _animated() -> bytes:
    frames = [Image.new("RGBA", (SIDE, SIDE), (shade, 0, 0, 128)) for shade in (1, 2, 3)]
    return _file(frames[0], save_all=True, append_images=frames[1:], default_image=False)


def _wordy() -> bytes:
    """A PNG whose compressed texts are 60 MB long."""
    texts = PngImagePlugin.PngInfo()
    for number in range(60):
        texts.add_text(f"text {number}", "x" * 1_000_000, zip=True)
    return _file(Image.new("L", (8, 8)), pnginfo=texts)


def _claims_to_be_huge() -> bytes:
    """A PNG whose header says 65,535 x 65,535 pixels."""
    header = b"IHDR" + (65_535).to_bytes(4) * 2 + b"\x08\x06\x00\x00\x00"
    chunk = len(header[4:]).to_bytes(4) + header + zlib.crc32(header).to_bytes(4)
    return b"\x89PNG\r\n\x1a\n" + chunk


@cache
def hostile_images() -> dict[str, bytes]:
    """Return the files by what they are; a JPEG's name begins with `jpeg`."""
    return {
        "rgba": _file(_blank("RGBA")),
        "rgb": _file(_blank("RGB")),
        "grey and alpha": _file(_blank("LA")),
        "palette": _file(_blank("P"), transparency=0),
        "one bit": _file(_blank("1")),
        "16 bits": _file(_blank("I;16")),
        "animated": _animated(),
        "one row": _file(_blank("RGBA", (SIDE * SIDE, 1))),
        "one column": _file(_blank("RGBA", (1, SIDE * SIDE))),
        "texts": _wordy(),
        "huge header": _claims_to_be_huge(),
        "jpeg": _file(_blank("RGB"), "JPEG"),
        "jpeg, progressive": _file(_blank("RGB"), "JPEG", progressive=True, subsampling=0),
        "jpeg, CMYK": _file(_blank("CMYK"), "JPEG", progressive=True),
    }
