"""Trained models: list, get, change, delete and download them; predict by them."""

from base64 import b64encode
from functools import partial
from io import BytesIO
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from sqlalchemy.orm import Session

from api.deps import IfNoneMatch, ModelId, ModelsDep, ServicesDep
from api.http.auth import READ, SUBMIT, ActorDep, SubmittedByDep
from api.http.bodies import IMAGE_TYPES, InputsDep
from api.http.files import documented_file
from api.http.paging import Cursors, PageDep
from api.http.problems import BODY, ENCODED, MALFORMED_JSON, TOO_LARGE, documented
from api.prediction.predict import predict
from api.routes.artifacts import artifact_response
from shared.errors import (
    ArtifactNotFound,
    DecoderBusy,
    ImageTooLarge,
    InvalidCursor,
    ModelInUse,
    ModelNotFound,
    ModelNotRunnable,
    UnreadableImage,
    UnsupportedImage,
)
from shared.schemas import (
    ModelDetail,
    ModelPatch,
    ModelSummary,
    Page,
    Predictions,
    PredictRequest,
    Threshold,
)
from shared.store import models
from shared.store.keyset import CreationKey

router = APIRouter(prefix="/v1/models", tags=["models"])

_CURSORS = Cursors("models", CreationKey)

_BYTES = {"schema": {"type": "string", "format": "binary"}}


def _white_pixel(media_type: str) -> str:
    file = BytesIO()
    Image.new("L", (1, 1), 255).save(file, media_type.removeprefix("image/"))
    return b64encode(file.getvalue()).decode()


def _image_body(media_type: str) -> dict[str, Any]:
    url = f"data:{media_type};base64,{_white_pixel(media_type)}"
    return {**_BYTES, "examples": {"pixel": {"summary": "A white pixel", "externalValue": url}}}


_PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{media_type: _image_body(media_type) for media_type in IMAGE_TYPES},
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
    "alias": {"summary": "Set the alias, or move it here", "value": {"alias": "champion"}},
    "description": {"summary": "Set the description", "value": {"description": "in production"}},
    "remove": {"summary": "Remove the alias", "value": {"alias": None}},
}


@router.get("", dependencies=[READ], responses=documented(InvalidCursor))
def list_models(services: ServicesDep, query: PageDep, submitted_by: SubmittedByDep) -> Page[ModelSummary]:
    """List the models, newest first."""
    return _CURSORS.read(services.database, query, partial(models.page, submitted_by=submitted_by))


@router.get("/{model_id}", dependencies=[READ], responses=documented(ModelNotFound))
def get_model(services: ServicesDep, model_id: ModelId) -> ModelDetail:
    """Get a model: layers, accuracy, files, the job and specification that trained it, its evaluations."""
    return services.database.read(lambda session: models.detail(session, model_id))


@router.patch("/{model_id}", dependencies=[SUBMIT], responses=documented(*BODY, ModelNotFound))
def patch_model(
    services: ServicesDep,
    actor: ActorDep,
    model_id: ModelId,
    changes: Annotated[ModelPatch, Body(openapi_examples=_PATCHES)],
) -> ModelDetail:
    """Change a model's alias or description. An alias of another model moves to this one at once."""

    def patch(session: Session) -> ModelDetail:
        changed_id = models.patch(session, model_id, changes, actor=actor)
        session.expire_all()  # else the session would return the rows as they were before the patch
        return models.detail(session, changed_id)

    return services.database.write(patch)


@router.delete(
    "/{model_id}", dependencies=[SUBMIT], status_code=204, responses=documented(ModelNotFound, ModelInUse)
)
def delete_model(services: ServicesDep, actor: ActorDep, model_id: ModelId) -> None:
    """Delete a model's files. The job that trained it keeps its metrics and its evaluation."""
    services.database.write(lambda session: models.delete_model(session, model_id, actor=actor))


@router.get(
    "/{model_id}/download",
    dependencies=[READ],
    response_class=Response,
    responses={**documented(ModelNotFound, ArtifactNotFound), **documented_file("The file")},
)
def download_model(
    services: ServicesDep,
    model_id: ModelId,
    name: Annotated[str | None, Query(description="Of the file; by default that of its Keras file.")] = None,
    format_: Annotated[
        str | None, Query(alias="format", description="`onnx` is short for the name `model.onnx`, and so on.")
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download one of the files that a model lists as `artifacts`. The ETag is the SHA-256 of the file."""
    wanted = name or (format_ and f"model.{format_}")

    def read(session: Session) -> Response:
        job_id, file = models.file(session, model_id, wanted)
        saved_as = file.name.replace("model.", f"model-{job_id}.", 1)
        is_lasting = isinstance(model_id, UUID)
        return artifact_response(session, job_id, file, if_none_match, saved_as, is_lasting=is_lasting)

    return services.database.read(read)


@router.post(
    "/{model_id}/predict",
    dependencies=[SUBMIT],
    responses=documented(
        MALFORMED_JSON,
        ModelNotFound,
        ModelNotRunnable,
        TOO_LARGE,
        ImageTooLarge,
        ENCODED,
        UnsupportedImage,
        UnreadableImage,
        DecoderBusy,
    ),
    openapi_extra=_PREDICT_BODY,
)
async def predict_images(
    services: ServicesDep,
    loaded_models: ModelsDep,
    model_id: ModelId,
    inputs: InputsDep,
    threshold: Annotated[
        Threshold | None,
        Query(description="Overrides the threshold that the model was trained with."),
    ] = None,
) -> Predictions:
    """Predict the digit in an image of any size and colour, or in up to 64 images."""
    # a coroutine, so that FastAPI validates the response here and not in another thread
    return await run_in_threadpool(predict, services.database, loaded_models, model_id, inputs, threshold)
