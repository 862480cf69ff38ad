"""Trained models."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from shared.schemas.base import PARTIAL_UPDATE, Request, Response
from shared.schemas.specs import Alias, ModelKind, TrainSpec
from shared.texts import STORABLE


class LayerSummary(Response):
    """A layer of a model, with the four columns of tfjs-vis's model summary.

    Attributes:
        type: the layer's class.
        output_shape: without the batch dimension.
        parameters: number of weights.
        trainable: whether training changes the weights.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: bool


class ModelFormat(StrEnum):
    """The file formats in which a model can be downloaded."""

    KERAS = "keras"
    ONNX = "onnx"


class ModelSummary(Response):
    """A trained model."""

    id: UUID
    job_id: UUID
    dataset: str
    kind: ModelKind
    parameters: int
    layers: tuple[LayerSummary, ...]
    weights_sha256: str = Field(description="SHA-256 of the weights' bytes in layer order.")
    accuracy: float = Field(description="Of the evaluation at the end of its training.")
    created_at: datetime
    alias: str | None = None
    description: str | None = None
    api_key_id: UUID | None = Field(
        default=None, description="The API key that submitted its training; null: one of `API_KEYS`, or none."
    )
    submitted_by: str | None = Field(default=None, description="The name of that key.")


class ModelEvaluation(Response):
    """An evaluation of a model, and the job that made it."""

    job_id: UUID
    dataset: str
    size: int
    threshold: float | None
    loss: float
    accuracy: float


class ModelDetail(ModelSummary):
    """A trained model with the spec of its training and all its evaluations, oldest first."""

    spec: TrainSpec
    evaluations: tuple[ModelEvaluation, ...]
    versions: dict[str, str] = Field(default={}, description="Of the software that it was trained with.")
    dataset_sha256: str | None = Field(
        default=None, description="The checksum of the dataset that it was trained on, if that is known."
    )


class ModelPatch(Request):
    """Changes of a model. Omitted fields stay unchanged; null removes the value."""

    model_config = PARTIAL_UPDATE

    alias: Alias | None = Field(default=None, description="Unique: it is taken from the model that has it.")
    description: str | None = Field(default=None, max_length=2_000, pattern=STORABLE)
