"""Trained models."""

from datetime import datetime
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


class Artifact(Response):
    """A file that a job has made.

    Attributes:
        name: of the file, unique within its job.
        role: `model` if it is a file of the model that the job has trained.
        size: in bytes.
    """

    name: str
    role: str
    media_type: str
    size: int
    sha256: str


class Artifacts(Response):
    """The files that a job has made, by name."""

    data: tuple[Artifact, ...]


class ModelSummary(Response):
    """A trained model. What its training did not tell is null, or an empty list."""

    id: UUID
    job_id: UUID = Field(description="Equal to the model's id.")
    dataset: str | None
    kind: ModelKind | None = Field(
        description="The network; null: not one that the API runs, for predictions or as TensorFlow.js."
    )
    parameters: int | None
    layers: tuple[LayerSummary, ...]
    weights_sha256: str | None = Field(description="SHA-256 of the weights' bytes in layer order.")
    accuracy: float | None = Field(description="Of the evaluation at the end of its training.")
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
    type: str
    dataset: str | None
    size: int | None
    threshold: float | None
    loss: float | None
    accuracy: float | None
    values: dict[str, float | None]


class ModelDetail(ModelSummary):
    """A trained model with the spec of its training, its files, and all its evaluations, oldest first."""

    spec: TrainSpec
    artifacts: tuple[Artifact, ...] = Field(default=(), description="Its files, by name.")
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
