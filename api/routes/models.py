"""Trained models."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.deps import IfNoneMatch, ModelId, ServicesDep
from api.etags import etag, is_known
from api.problems import documented
from shared import results
from shared.errors import ModelNotFound
from shared.schemas import ModelFormat, ModelSummary

router = APIRouter(prefix="/v1/models", tags=["models"])

_BYTES = {"schema": {"type": "string", "format": "binary"}}


@router.get("/{model_id}", responses=documented(ModelNotFound))
def get_model(services: ServicesDep, model_id: ModelId) -> ModelSummary:
    """A model's layers, origin and accuracy."""
    return services.database.read(lambda session: results.model(session, model_id))


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
    file = services.database.read(lambda session: results.model_file(session, model_id, format_))
    headers = {"ETag": etag(file.sha256)}
    if is_known(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="model-{model_id}.{format_}"'
    return Response(file.content, media_type="application/octet-stream", headers=headers)
