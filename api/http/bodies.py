"""Request bodies that FastAPI does not parse itself: images to classify, and overrides of a stored job."""

import json
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from api.deps import DecoderDep
from api.http.auth import ClientDep
from api.prediction.predict import ImageInput, Inputs, to_inputs
from shared.errors import UnsupportedImage
from shared.schemas import PredictRequest

IMAGE_TYPES = ("image/png", "image/jpeg")


def validation_error(error: ValidationError, body: object) -> RequestValidationError:
    """Return the error with which FastAPI refuses a JSON body that does not match its schema."""
    errors = [{**item, "loc": ("body", *item["loc"])} for item in error.errors()]
    return RequestValidationError(errors, body=body)


async def _inputs(request: Request, decoder: DecoderDep, client: ClientDep) -> Inputs:
    """Return the images in the body, which is one image file or a `PredictRequest`.

    Raises:
        UnsupportedImage: the body has another media type.
        RequestValidationError: the body is JSON, but not a `PredictRequest`.
        UnreadableImage: a file is damaged, or is not an image.
        ImageTooLarge: the images have too many pixels.
        DecoderBusy: other requests' images kept the decoder busy for too long.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in IMAGE_TYPES:
        return await decoder.decode(partial(_receive, request), lambda body: to_inputs((body,)), client)
    if media_type == "application/json":
        return await decoder.decode(
            partial(_receive, request), lambda body: to_inputs(_parse_images(body)), client
        )
    raise UnsupportedImage(
        f"the body's media type is {media_type or 'missing'}: send one of {', '.join(IMAGE_TYPES)}, or "
        "application/json"
    )


async def _receive(request: Request) -> bytes:
    # `request.body()` would keep the body in memory until the response
    return b"".join([chunk async for chunk in request.stream()])


def _parse_images(body: bytes) -> tuple[ImageInput, ...]:
    try:
        document: Any = json.loads(body)
    except json.JSONDecodeError as error:
        item = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "ctx": {"error": error.msg}}
        raise RequestValidationError([item], body=error.doc) from error
    except (RecursionError, ValueError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error  # as FastAPI does
    try:
        return PredictRequest.model_validate(document).images
    except ValidationError as error:
        raise validation_error(error, document) from error


InputsDep = Annotated[Inputs, Depends(_inputs)]
