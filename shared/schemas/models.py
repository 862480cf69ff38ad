"""Trained models."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from shared.schemas.base import CHANGES, Request, Response
from shared.schemas.specs import Alias, ModelKind, TrainSpec


class LayerSummary(Response):
    """One row of a model's summary, with tfjs-vis's four columns.

    Attributes:
        name: the layer's name.
        type: its class.
        output_shape: without the batch dimension.
        parameters: how many weights it has.
        trainable: whether training changes them.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: bool


class ModelFormat(StrEnum):
    """The forms in which a model can be downloaded."""

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
    weights_sha256: str = Field(description="Of the weights' bytes in layer order: equal for equal models.")
    accuracy: float = Field(description="Of the evaluation at the end of its training.")
    created_at: datetime
    alias: str | None = None
    description: str | None = None


class ModelEvaluation(Response):
    """One measurement of a model, by the job that made it."""

    job_id: UUID
    dataset: str
    size: int
    threshold: float | None
    loss: float
    accuracy: float


class ModelDetail(ModelSummary):
    """A trained model with what it was trained with, and every evaluation of it, oldest first."""

    spec: TrainSpec
    evaluations: tuple[ModelEvaluation, ...]


class ModelPage(Response):
    """A page of models, newest first."""

    data: tuple[ModelSummary, ...]
    next_cursor: str | None
    has_more: bool


class ModelPatch(Request):
    """What people may change of a model. What is left out stays; null takes it away."""

    model_config = CHANGES

    alias: Alias | None = Field(
        default=None, description="A name that one model has at a time: it is taken from the one that has it."
    )
    description: str | None = Field(default=None, max_length=2_000, pattern=r"^[^\x00]*$")
