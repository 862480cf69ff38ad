"""Reads digits: from a request's body to what a model says of them."""

import binascii
import json
from base64 import b64decode
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any
from uuid import UUID

import numpy as np
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from api.prediction import mnist_images
from api.prediction.mnist_images import data_url
from api.services import Services
from shared.errors import UnreadablePicture, UnsupportedPicture
from shared.schemas import (
    EncodedPicture,
    ModelFormat,
    ModelReference,
    Prediction,
    Predictions,
    PredictRequest,
    Rows,
    TrainSpec,
)
from shared.store import models

PICTURE_TYPES = ("image/png", "image/jpeg")

_SHAPE = (28, 28)


@dataclass(frozen=True)
class Upload:
    """What a client wants read: one file, or the images of a JSON document."""

    images: tuple[Rows | EncodedPicture | bytes, ...]


async def read_upload(request: Request) -> Upload:
    """What the body holds, by its media type.

    Raises:
        UnsupportedPicture: the body has another media type.
        RequestValidationError: the body is JSON, and not of `PredictRequest`'s form.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in PICTURE_TYPES:
        return Upload((await request.body(),))
    if media_type == "application/json":
        return _from_json(await request.body())
    raise UnsupportedPicture(
        f"the body's media type is {media_type or 'not named'}: send one of {', '.join(PICTURE_TYPES)}, or "
        "application/json"
    )


UploadDep = Annotated[Upload, Depends(read_upload)]


def predict(
    services: Services, reference: ModelReference, upload: Upload, threshold: float | None
) -> Predictions:
    """What a model says of images.

    Args:
        reference: the model's id or alias.
        upload: the images.
        threshold: None: as the model was trained with.

    Raises:
        ModelNotFound: there is no such model.
        UnreadablePicture: a picture is damaged, or is none.
        PictureTooLarge: the pictures have too many pixels.
    """
    model = services.database.read(lambda session: models.find(session, reference))
    began = perf_counter()
    seen = _seen(upload)
    blank = np.zeros(_SHAPE, np.float32)
    images = np.stack([blank if image is None else image for image in seen])
    probabilities = services.predictor.probabilities(
        model.id, lambda: _onnx(services, model.id), images.reshape(-1, *_SHAPE, 1)
    )
    least = TrainSpec.model_validate(model.spec).threshold if threshold is None else threshold
    data = tuple(
        _prediction(image is None, of_image, pixels, least)
        for image, of_image, pixels in zip(seen, probabilities, images, strict=True)
    )
    ms = (perf_counter() - began) * 1_000
    return Predictions(model_id=model.id, threshold=least, ms=round(ms, 3), data=data)


def _onnx(services: Services, model_id: UUID) -> bytes:
    return services.database.read(lambda session: models.file(session, model_id, ModelFormat.ONNX)).content


def _prediction(
    is_blank: bool, probabilities: NDArray[np.float32], image: NDArray[np.float32], threshold: float | None
) -> Prediction:
    best = int(probabilities.argmax())
    unsure = threshold is not None and probabilities[best] < threshold
    return Prediction(
        prediction=None if is_blank or unsure else best,
        reason="blank" if is_blank else "below_threshold" if unsure else None,
        probabilities=tuple(probabilities.tolist()),
        input=data_url((image * 255).round().astype(np.uint8)),
    )


def _seen(upload: Upload) -> list[NDArray[np.float32] | None]:
    """Each image as the model is to see it, 0 to 1; None where there is nothing to see."""
    seen: list[NDArray[np.float32] | None] = []
    pixels_left = mnist_images.MAX_PIXELS
    for image in upload.images:
        if isinstance(image, tuple):
            numbers = np.array(image, np.float32)
            seen.append(numbers if numbers.any() else None)
            continue
        picture = mnist_images.read(image if isinstance(image, bytes) else _decoded(image), pixels_left)
        pixels_left -= picture.width * picture.height
        found = mnist_images.like_mnist(picture)
        seen.append(None if found is None else np.divide(found, 255, dtype=np.float32))
    return seen


def _decoded(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadablePicture("a picture in JSON must be a PNG or JPEG file in base64") from error


def _from_json(body: bytes) -> Upload:
    try:
        document: Any = json.loads(body)
    except json.JSONDecodeError as error:
        found = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "ctx": {"error": error.msg}}
        raise RequestValidationError([found], body=error.doc) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error  # as FastAPI answers them
    try:
        return Upload(PredictRequest.model_validate(document).images)
    except ValidationError as error:
        errors = [{**found, "loc": ("body", *found["loc"])} for found in error.errors(include_context=False)]
        raise RequestValidationError(errors, body=document) from error
