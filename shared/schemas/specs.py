"""Specs: the parameters of training and evaluation jobs."""

import re
from enum import StrEnum
from math import ceil
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from shared.schemas.base import PARTIAL_UPDATE, Request, StrictNumber
from shared.schemas.ids import PART_OF_ID, parse_id
from shared.schemas.refusals import ALIAS_PATTERN


class ModelKind(StrEnum):
    """The architecture of a model: the codelab's two."""

    CNN = "cnn"
    DENSE = "dense"


class Optimizer(StrEnum):
    """An optimizer, with Keras's defaults except for the learning rate."""

    ADAM = "adam"
    SGD = "sgd"
    RMSPROP = "rmsprop"


Seed = Annotated[
    int, Field(ge=0, le=2**31 - 1, description="Determines every random choice of the job."), StrictNumber
]

Threshold = Annotated[
    float, Field(ge=0, le=1, description='Predictions with a lower probability count as "no digit found".')
]

_Size = Annotated[int, Field(ge=1), StrictNumber]


class TrainRequest(Request):
    """The spec of a training job as submitted. Without any field it is the codelab's job."""

    dataset: str = Field(default="mnist", min_length=1, max_length=64)
    model: ModelKind = ModelKind.CNN
    train_size: _Size | None = Field(default=None, description="Training images; default: the dataset's.")
    validation_size: _Size | None = Field(default=None, description="Images evaluated after each epoch.")
    evaluation_size: _Size | None = Field(default=None, description="Images of the evaluation at the end.")
    epochs: Annotated[int, Field(ge=1, le=1_000), StrictNumber] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536), StrictNumber] = 512
    learning_rate: Annotated[float, Field(gt=0, le=10), StrictNumber] = 0.001
    optimizer: Optimizer = Optimizer.ADAM
    seed: Seed | None = None
    threshold: Annotated[Threshold, StrictNumber] | None = None
    keep_weights: Annotated[bool, Strict()] = Field(
        default=False,
        description="Whether the weights after each epoch are stored with the job, up to 32 MiB: 24 kB an "
        "epoch of a `cnn`, 134 kB of a `dense` model.",
    )


class TrainSpec(TrainRequest):
    """The complete spec of a training job, without defaults to fill in: it can be repeated exactly."""

    train_size: int
    validation_size: int
    evaluation_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimizer updates in an epoch, including the last partial batch's."""
        return ceil(self.train_size / self.batch_size)


def _parse_model_reference(value: Any) -> UUID | str:
    parsed = parse_id(value)
    if parsed is None and not re.fullmatch(ALIAS_PATTERN, str(value)):
        raise ValueError("must be a model's id, or at least 4 of its digits, or its alias such as `champion`")
    return str(value) if parsed is None else parsed


def _refuse_id(value: str) -> str:
    if isinstance(_parse_model_reference(value), UUID):
        raise ValueError("must not look like an id")
    return value


ModelReference = Annotated[
    UUID | Annotated[str, Field(pattern=f"{ALIAS_PATTERN}|{PART_OF_ID}")],
    BeforeValidator(_parse_model_reference),
    Field(description="A model's id, at least 4 of its first or last digits, or its alias."),
]

Alias = Annotated[str, Field(pattern=ALIAS_PATTERN), AfterValidator(_refuse_id)]


class EvaluateRequest(Request):
    """The spec of an evaluation job as submitted. Omitted fields are taken from the model's training."""

    model_id: ModelReference
    evaluation_size: _Size | None = None
    seed: Seed | None = None
    threshold: Annotated[Threshold, StrictNumber] | None = None


class EvaluateSpec(EvaluateRequest):
    """The complete spec of an evaluation job; an alias has been replaced by the model's id."""

    model_id: UUID
    evaluation_size: int
    seed: int


class SpecChanges(TrainRequest):
    """Changes of a spec of either kind; null restores a default, or draws a new seed."""

    model_config = PARTIAL_UPDATE

    model_id: ModelReference | None = None
