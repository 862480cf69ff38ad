"""Trained models: list, look at, name, delete, download; and what they say of pictures."""

from base64 import b64encode
from io import BytesIO
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from api.deps import IfNoneMatch, ModelId, ServicesDep
from api.http.headers import etag, is_known
from api.http.problems import MALFORMED_JSON, NOT_JSON, TOO_LARGE, documented
from api.prediction.predict import PICTURE_TYPES, UploadDep, predict
from shared.errors import (
    ModelInUse,
    ModelNotFound,
    PictureTooLarge,
    UnreadablePicture,
    UnsupportedPicture,
)
from shared.schemas import (
    ModelDetail,
    ModelFormat,
    ModelPage,
    ModelPatch,
    Predictions,
    PredictRequest,
    Threshold,
)
from shared.store import models

router = APIRouter(prefix="/v1/models", tags=["models"])

_BYTES = {"schema": {"type": "string", "format": "binary"}}


def _white_pixel(media_type: str) -> str:
    file = BytesIO()
    Image.new("L", (1, 1), 255).save(file, media_type.removeprefix("image/"))
    return b64encode(file.getvalue()).decode()


def _picture_body(media_type: str) -> dict[str, Any]:
    address = f"data:{media_type};base64,{_white_pixel(media_type)}"
    return {**_BYTES, "examples": {"pixel": {"summary": "A white pixel", "externalValue": address}}}


_PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{media_type: _picture_body(media_type) for media_type in PICTURE_TYPES},
            "application/json": {
                "schema": PredictRequest.model_json_schema(),
                "examples": {
                    "file": {"summary": "A file in base64", "value": {"images": [_white_pixel("image/png")]}},
                    "numbers": {"summary": "28 rows of 28 numbers", "value": {"images": [[[0.0] * 28] * 28]}},
                },
            },
        },
    }
}
_PATCHES = {
    "alias": {"summary": "Name it, or move the name here", "value": {"alias": "champion"}},
    "description": {"summary": "Describe it", "value": {"description": "the one in production"}},
    "nothing": {"summary": "Take its alias away", "value": {"alias": None}},
}


@router.get("", responses=documented())
def list_models(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
) -> ModelPage:
    """Models, newest first."""
    found = services.database.read(lambda session: models.page(session, limit=limit + 1, before=cursor))
    page, has_more = tuple(found[:limit]), len(found) > limit
    return ModelPage(data=page, has_more=has_more, next_cursor=str(page[-1].id) if has_more else None)


@router.get("/{model_id}", responses=documented(ModelNotFound))
def get_model(services: ServicesDep, model_id: ModelId) -> ModelDetail:
    """A model's layers and accuracy, and where it comes from: its job, specification and evaluations."""
    return services.database.read(lambda session: models.detail(session, model_id))


@router.patch("/{model_id}", responses=documented(MALFORMED_JSON, ModelNotFound, TOO_LARGE, NOT_JSON))
def patch_model(
    services: ServicesDep, model_id: ModelId, changes: Annotated[ModelPatch, Body(openapi_examples=_PATCHES)]
) -> ModelDetail:
    """Name or describe a model. An alias is one model's at a time: it moves here from the one that has it."""
    changed = services.database.write(lambda session: models.patch(session, model_id, changes))
    return services.database.read(lambda session: models.detail(session, changed))


@router.delete("/{model_id}", status_code=204, responses=documented(ModelNotFound, ModelInUse))
def delete_model(services: ServicesDep, model_id: ModelId) -> None:
    """Delete a model's files. Its training job, with curves and evaluation, stays."""
    services.database.write(lambda session: models.delete_model(session, model_id))


@router.get(
    "/{model_id}/download",
    response_class=Response,
    responses={
        **documented(ModelNotFound),
        200: {"description": "The file", "content": {"application/octet-stream": _BYTES}},
        304: {"description": "It is as `If-None-Match` says"},
    },
)
def download_model(
    services: ServicesDep,
    model_id: ModelId,
    format_: Annotated[ModelFormat, Query(alias="format")] = ModelFormat.KERAS,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A model's bytes. The ETag is their SHA-256."""
    file = services.database.read(lambda session: models.file(session, model_id, format_))
    headers = {"ETag": etag(file.sha256)}
    if is_known(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="model-{file.model_id}.{format_}"'
    return Response(file.content, media_type="application/octet-stream", headers=headers)


@router.post(
    "/{model_id}/predict",
    responses=documented(
        MALFORMED_JSON, ModelNotFound, TOO_LARGE, PictureTooLarge, UnsupportedPicture, UnreadablePicture
    ),
    openapi_extra=_PREDICT_BODY,
)
async def predict_images(
    services: ServicesDep,
    model_id: ModelId,
    upload: UploadDep,
    threshold: Annotated[Threshold | None, Query()] = None,
) -> Predictions:
    """Read the digit in a picture of any size and colour, or in up to 64 images.

    Without `threshold` that of the model's training holds.
    """
    # a coroutine, so that FastAPI checks the answer here and not in one more thread
    return await run_in_threadpool(predict, services, model_id, upload, threshold)
