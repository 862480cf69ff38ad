"""Models for TensorFlow.js: the two files that `tf.loadLayersModel` reads."""

import json
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.deps import IfNoneMatch, ModelId, ServicesDep
from api.http.auth import READ
from api.http.files import BINARY, documented_file, file_headers, file_response, unchanged
from api.http.problems import documented
from api.prediction.onnx_weights import read_weights
from api.prediction.tfjs_models import WEIGHTS_FILE, model_json
from shared.db.tables import Model
from shared.errors import ModelNotFound, ModelNotRunnable
from shared.formats.results import ONNX_FILE
from shared.formats.weights import to_bytes
from shared.schemas import ModelKind, ModelReference
from shared.store import artifacts, models

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[READ])

_JSON = "application/json"
_MODEL_JSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "format": {"const": "layers-model"},
        "modelTopology": {"type": "object"},
        "weightsManifest": {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 1},
    },
    "required": ["format", "modelTopology", "weightsManifest"],
}


@router.get(
    "/{model_id}/tfjs/model.json",
    response_class=Response,
    responses={
        **documented(ModelNotFound, ModelNotRunnable),
        **documented_file("The layers; the names, shapes and file of the weights", _JSON, _MODEL_JSON),
    },
)
def get_tfjs_model(services: ServicesDep, model_id: ModelId, if_none_match: IfNoneMatch = None) -> Response:
    """Get a model for TensorFlow.js: `tf.loadLayersModel` of this URL loads it with its weights.

    The model's input has the shape (n, 28, 28, 1) and values from 0 to 1; its output is the probabilities of
    the ten classes.
    """
    model, kind = services.database.read(partial(models.runnable, reference=model_id))
    content = json.dumps(model_json(kind, _weights_path(model_id, model.id)))
    return file_response(content.encode(), if_none_match, media_type=_JSON)


@router.get(
    f"/{{model_id}}/tfjs/{WEIGHTS_FILE}",
    response_class=Response,
    responses={**documented(ModelNotFound, ModelNotRunnable), **documented_file("The weights")},
)
def get_tfjs_weights(services: ServicesDep, model_id: ModelId, if_none_match: IfNoneMatch = None) -> Response:
    """Get a model's weights: float32, little-endian, one array after the other as `model.json` lists them.

    The ETag is the model's `weights_sha256`, the SHA-256 of these bytes.
    """

    def read(session: Session) -> Response:
        model, kind = models.runnable(session, model_id)
        headers = file_headers(model.weights_sha256 or "", is_lasting=isinstance(model_id, UUID))
        return unchanged(if_none_match, headers) or Response(
            _weights(session, model, kind), media_type=BINARY, headers=headers
        )

    return services.database.read(read)


def _weights(session: Session, model: Model, kind: ModelKind) -> bytes:
    weights = to_bytes(read_weights(kind, artifacts.content(session, model.id, ONNX_FILE)))
    if sha256(weights).hexdigest() != model.weights_sha256:
        raise ValueError(f"the ONNX file of model {model.id} has other weights than the model")
    return weights


def _weights_path(requested: ModelReference, model_id: UUID) -> str:
    """Return the weights' path relative to `model.json`, with the model's id because an alias may move."""
    return WEIGHTS_FILE if isinstance(requested, UUID) else f"../../{model_id}/tfjs/{WEIGHTS_FILE}"
