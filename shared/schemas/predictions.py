"""Predictions: the digits that a model finds in images."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.schemas.base import Request, Response, StrictNumber

MAX_IMAGES = 64

_Pixel = Annotated[float, Field(ge=0, le=1), StrictNumber]
_PixelRow = Annotated[tuple[_Pixel, ...], Field(min_length=28, max_length=28)]
PixelRows = Annotated[
    tuple[_PixelRow, ...],
    Field(min_length=28, max_length=28),
    Field(description="An image in MNIST's form: 28 rows of 28 numbers, 0 (black) to 1 (white), used as is."),
]

EncodedImage = Annotated[
    str,
    Field(min_length=1, description="A PNG or JPEG in base64 or a `data:` URL; converted to MNIST's form."),
]


class PredictRequest(Request):
    """Images of digits to classify."""

    images: Annotated[tuple[PixelRows | EncodedImage, ...], Field(min_length=1, max_length=MAX_IMAGES)]


class NoDigitReason(StrEnum):
    """Why no digit was found in an image."""

    BLANK = "blank"
    BELOW_THRESHOLD = "below_threshold"  # of the most probable class


class Prediction(Response):
    """The prediction for one image.

    Attributes:
        prediction: the predicted class; None if no digit was found.
        reason: why no digit was found.
        probabilities: of each class, in label order.
        input: the image as the model received it: 28x28, white on black, as `data:image/png;base64,...`.
    """

    prediction: int | None
    reason: NoDigitReason | None
    probabilities: tuple[float, ...]
    input: str


class Predictions(Response):
    """The predictions for the images of a request.

    Attributes:
        threshold: predictions with a lower probability count as "no digit found"; None: no threshold.
        ms: milliseconds that the API spent on decoding the images and running the model.
        data: one entry for each image, in the images' order.
    """

    model_id: UUID
    threshold: float | None
    ms: float
    data: tuple[Prediction, ...]
