"""What is trained, and what is measured."""

import re
from contextlib import suppress
from enum import StrEnum
from math import ceil
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field

from shared.schemas.base import A_NUMBER, CHANGES, Request


class ModelKind(StrEnum):
    """The codelab's two architectures."""

    CNN = "cnn"
    DENSE = "dense"


class Optimizer(StrEnum):
    """How weights follow their gradients; each with Keras's defaults but for the learning rate."""

    ADAM = "adam"
    SGD = "sgd"
    RMSPROP = "rmsprop"


Seed = Annotated[
    int, Field(ge=0, le=2**31 - 1, description="Decides every random choice of the job."), A_NUMBER
]


Threshold = Annotated[
    float,
    Field(ge=0, le=1, description='Predictions with a lower probability count as "no digit found".'),
]


_Size = Annotated[int, Field(ge=1), A_NUMBER]


class TrainRequest(Request):
    """What a client says of a training job. An empty one is the codelab's job."""

    dataset: str = Field(default="mnist", min_length=1, max_length=64)
    model: ModelKind = ModelKind.CNN
    train_size: _Size | None = Field(
        default=None, description="Training images; None: the dataset's default."
    )
    validation_size: _Size | None = Field(default=None, description="Images measured after each epoch.")
    evaluation_size: _Size | None = Field(default=None, description="Images of the evaluation at the end.")
    epochs: Annotated[int, Field(ge=1, le=1_000), A_NUMBER] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536), A_NUMBER] = 512
    learning_rate: Annotated[float, Field(gt=0, le=10), A_NUMBER] = 0.001
    optimizer: Optimizer = Optimizer.ADAM
    seed: Seed | None = None
    threshold: Annotated[Threshold, A_NUMBER] | None = None


class TrainSpec(TrainRequest):
    """A training job in full: nothing is left to a default, so that it can be run again exactly."""

    train_size: int
    validation_size: int
    evaluation_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer updates in one epoch, the last partial batch's among them."""
        return ceil(self.train_size / self.batch_size)


_ALIAS = r"^[a-z][a-z0-9_-]{0,63}$"


def _model_reference(value: Any) -> UUID | str:
    if isinstance(value, UUID):
        return value
    text = str(value)
    with suppress(ValueError):
        return UUID(text)
    if not re.fullmatch(_ALIAS, text):
        raise ValueError("must be a model's id, or its alias such as `champion`")
    return text


def _alias(value: str) -> str:
    if isinstance(_model_reference(value), UUID):
        raise ValueError("must not look like an id")
    return value


ModelReference = Annotated[
    UUID | Annotated[str, Field(pattern=_ALIAS)],
    BeforeValidator(_model_reference),
    Field(description="A model's id, or its alias."),
]


Alias = Annotated[str, Field(pattern=_ALIAS), AfterValidator(_alias)]


class EvaluateRequest(Request):
    """What a client says of an evaluation job. What is left out is as the model was trained."""

    model_id: ModelReference
    evaluation_size: _Size | None = None
    seed: Seed | None = None
    threshold: Annotated[Threshold, A_NUMBER] | None = None


class EvaluateSpec(EvaluateRequest):
    """An evaluation job in full: an alias has become the id of the model that had it."""

    model_id: UUID
    evaluation_size: int
    seed: int


class SpecChanges(TrainRequest):
    """Fields of a specification of either kind; null for what is to be drawn or taken from its dataset."""

    model_config = CHANGES

    model_id: ModelReference | None = None
