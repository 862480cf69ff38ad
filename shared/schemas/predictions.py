"""What clients send to have digits read, and what the API answers."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from shared.schemas.base import A_NUMBER, Request, Response

MAX_IMAGES = 64
Pixel = Annotated[float, Field(ge=0, le=1), A_NUMBER]
Row = Annotated[tuple[Pixel, ...], Field(min_length=28, max_length=28)]
Rows = Annotated[
    tuple[Row, ...],
    Field(
        min_length=28,
        max_length=28,
        description="28 rows of 28 numbers, 0 (black) to 1 (white): taken as they are, so in MNIST's form.",
    ),
]


EncodedPicture = Annotated[
    str,
    Field(
        min_length=1,
        description="A PNG or JPEG file in base64, also as a `data:` address: brought to MNIST's form.",
    ),
]


class PredictRequest(Request):
    """Images of digits to be read."""

    images: Annotated[tuple[Rows | EncodedPicture, ...], Field(min_length=1, max_length=MAX_IMAGES)]


class Prediction(Response):
    """What the model says of one image.

    Attributes:
        prediction: the class; None if none was found.
        reason: why none was found.
        probabilities: of each class, in label order.
        input: the image as the model saw it, `data:image/png;base64,...`, 28x28, white on black.
    """

    prediction: int | None
    reason: Literal["blank", "below_threshold"] | None
    probabilities: tuple[float, ...]
    input: str


class Predictions(Response):
    """What a model says of some images.

    Attributes:
        threshold: below which a prediction counts as "no digit found"; None: there is none.
        ms: milliseconds that the pictures and the model took in the API.
        data: one entry an image, in the images' order.
    """

    model_id: UUID
    threshold: float | None
    ms: float
    data: tuple[Prediction, ...]
