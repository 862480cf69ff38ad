"""Models for TensorFlow.js: the two files that `tf.loadLayersModel` reads."""

import json
from hashlib import sha256
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.deps import IfNoneMatch, ModelId, ServicesDep
from api.http.auth import READ
from api.http.headers import etag, is_current
from api.http.problems import documented
from api.prediction.onnx_weights import read_weights
from api.prediction.tfjs_models import WEIGHTS_FILE, model_json
from shared.errors import ModelNotFound
from shared.formats.weights import to_bytes
from shared.schemas import ModelFormat, ModelReference
from shared.store import models

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[READ])

_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Unchanged since `If-None-Match`"}}
_MODEL_JSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "format": {"const": "layers-model"},
        "modelTopology": {"type": "object"},
        "weightsManifest": {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 1},
    },
    "required": ["format", "modelTopology", "weightsManifest"],
}
# sites that `CORS_ORIGINS` allows get other headers; a response must not be kept for all
_VARIES = {"Vary": "Origin"}
_REVALIDATED = {"Cache-Control": "private, no-cache", **_VARIES}
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable", **_VARIES}


@router.get(
    "/{model_id}/tfjs/model.json",
    response_class=Response,
    responses={
        **documented(ModelNotFound),
        200: {
            "description": "The layers, and the names, shapes and file of the weights",
            "content": {"application/json": {"schema": _MODEL_JSON}},
        },
        **_UNCHANGED,
    },
)
def get_tfjs_model(services: ServicesDep, model_id: ModelId, if_none_match: IfNoneMatch = None) -> Response:
    """Get a model for TensorFlow.js: `tf.loadLayersModel` of this URL loads it with its weights.

    Its input is (n, 28, 28, 1) from 0 to 1, its output the ten probabilities.
    """
    model = services.database.read(lambda session: models.detail(session, model_id))
    content = json.dumps(model_json(model.kind, _weights_path(model_id, model.id))).encode()
    headers = {"ETag": etag(sha256(content).hexdigest()), **_REVALIDATED}
    if is_current(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)


@router.get(
    f"/{{model_id}}/tfjs/{WEIGHTS_FILE}",
    response_class=Response,
    responses={
        **documented(ModelNotFound),
        200: {
            "description": "The weights",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **_UNCHANGED,
    },
)
def get_tfjs_weights(services: ServicesDep, model_id: ModelId, if_none_match: IfNoneMatch = None) -> Response:
    """Get a model's weights: float32, little-endian, one array after the other as `model.json` lists them.

    The ETag is the model's `weights_sha256`, the SHA-256 of these bytes.
    """

    headers = {**(_IMMUTABLE if isinstance(model_id, UUID) else _REVALIDATED)}

    def read(session: Session) -> bytes | None:
        model = models.find(session, model_id)
        headers["ETag"] = etag(model.weights_sha256)
        if is_current(if_none_match, headers["ETag"]):
            return None
        file = models.file(session, model.id, ModelFormat.ONNX)
        weights = to_bytes(read_weights(models.kind(model), file.content))
        if sha256(weights).hexdigest() != model.weights_sha256:
            raise ValueError(f"the ONNX file of model {model.id} has other weights than the model")
        return weights

    content = services.database.read(read)
    if content is None:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/octet-stream", headers=headers)


def _weights_path(requested: ModelReference, model_id: UUID) -> str:
    """Return the path of the weights from `model.json`, by the model's id: its alias may move meanwhile."""
    return WEIGHTS_FILE if isinstance(requested, UUID) else f"../../{model_id}/tfjs/{WEIGHTS_FILE}"
