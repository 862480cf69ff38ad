"""Request bodies that FastAPI does not parse itself: images to classify, and overrides of a stored job."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from api.prediction.predict import ImageInput
from shared.errors import UnsupportedImage
from shared.schemas import PredictRequest

IMAGE_TYPES = ("image/png", "image/jpeg")


def validation_error(error: ValidationError, body: object) -> RequestValidationError:
    """Return the error with which FastAPI refuses a JSON body that does not match its schema."""
    errors = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_context=False)]
    return RequestValidationError(errors, body=body)


async def _images(request: Request) -> tuple[ImageInput, ...]:
    """Return the images in the body: one file, or those of a `PredictRequest`.

    Raises:
        UnsupportedImage: the body has another media type.
        RequestValidationError: the body is JSON, and not a `PredictRequest`.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in IMAGE_TYPES:
        return (await request.body(),)
    if media_type == "application/json":
        return _parse_images(await request.body())
    raise UnsupportedImage(
        f"the body's media type is {media_type or 'missing'}: send one of {', '.join(IMAGE_TYPES)}, or "
        "application/json"
    )


def _parse_images(body: bytes) -> tuple[ImageInput, ...]:
    try:
        document: Any = json.loads(body)
    except json.JSONDecodeError as error:
        item = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "ctx": {"error": error.msg}}
        raise RequestValidationError([item], body=error.doc) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error  # as FastAPI does
    try:
        return PredictRequest.model_validate(document).images
    except ValidationError as error:
        raise validation_error(error, document) from error


ImagesDep = Annotated[tuple[ImageInput, ...], Depends(_images)]
