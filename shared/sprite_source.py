"""Where a sprite dataset is, and how its rows are divided; the settings have such sources."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.texts import PRINTABLE

DIGIT_NAMES = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")

URL = r"^(https?|file)://"
"""Pattern of the addresses from which files can be read."""

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{64})?$")]
"""A SHA-256 checksum as 64 hexadecimal digits; empty if none is known."""


class SpriteSource(BaseModel):
    """The files of a sprite dataset, and how its rows are divided into training and test images.

    Attributes:
        images_url: `http(s)://` or `file://`: a PNG of 784 columns, one 28x28 image a row.
        labels_url: one-hot labels, ten bytes of 0 or 1 a row.
        images_sha256: the checksum that the images' file must have; empty: any.
        labels_sha256: the checksum that the labels' file must have; empty: any.
        train_rows: how many rows, the first ones, are for training.
        test_rows: how many rows, those after them, are for validation and evaluation.
        class_names: what people call each class, in label order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images_url: str = Field(pattern=URL)
    labels_url: str = Field(pattern=URL)
    images_sha256: Sha256 = ""
    labels_sha256: Sha256 = ""
    train_rows: int = Field(default=55_000, ge=1)
    test_rows: int = Field(default=10_000, ge=2)
    class_names: tuple[Annotated[str, Field(max_length=64, pattern=PRINTABLE)], ...] = Field(
        default=DIGIT_NAMES, min_length=10, max_length=10
    )
