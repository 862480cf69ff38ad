"""The fields of requests as typed keyword arguments, and their assignment to a job or its specification."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal, TypedDict
from uuid import UUID

from pydantic import BaseModel

from shared.lifecycle import JobKind, JobState
from shared.schemas import (
    BatchAction,
    DeliveryState,
    EndState,
    LogLevel,
    Mode,
    ModelKind,
    Optimizer,
    Part,
    Priority,
    Resolution,
    Split,
)
from trainshed.errors import UnknownField

# each value by its name, or as a member of the enumeration
AnyState = JobState | Literal["queued", "running", "succeeded", "failed", "cancelled"]
AnyKind = JobKind | Literal["train", "evaluate"]
AnyModelKind = ModelKind | Literal["cnn", "dense"]
AnyOptimizer = Optimizer | Literal["adam", "sgd", "rmsprop"]
AnyPriority = Priority | Literal["urgent", "high", "normal", "low"]
AnyResolution = Resolution | Literal["epoch", "step"]
AnyMode = Mode | Literal["min", "max"]
AnyPart = Part | Literal["training", "validation", "evaluation"]
AnySplit = Split | Literal["train", "test"]
AnyLevel = LogLevel | Literal["debug", "info", "warning", "error", "critical"]
AnyEndState = EndState | Literal["succeeded", "failed", "cancelled"]
AnyDeliveryState = DeliveryState | Literal["pending", "delivered", "dead"]
AnyAction = BatchAction | Literal["cancel", "retry", "delete"]


class JobFields(TypedDict, total=False):
    """Fields of every job."""

    name: str | None
    tags: Sequence[str]
    queue: str
    priority: AnyPriority
    max_attempts: int
    max_runtime_s: float | None
    scheduled_at: datetime | None
    after: Sequence[UUID | str]


class TrainFields(JobFields, total=False):
    """Fields of a training job and its specification."""

    dataset: str
    model: AnyModelKind
    train_size: int | None
    validation_size: int | None
    evaluation_size: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: AnyOptimizer
    seed: int | None
    threshold: float | None
    keep_weights: bool


class EvaluateFields(JobFields, total=False):
    """Fields of an evaluation job and its specification."""

    evaluation_size: int | None
    seed: int | None
    threshold: float | None


class CloneFields(TrainFields, total=False):
    """Fields in which a copy differs from its job; `model_id` is only for an evaluation."""

    model_id: UUID | str


class JobChanges(TypedDict, total=False):
    """Fields of a job that can be changed, the last two only while it is queued; None removes the name."""

    name: str | None
    tags: Sequence[str]
    queue: str
    priority: AnyPriority


class JobFilters(TypedDict, total=False):
    """Filters of a list of jobs, and its order.

    `q` is a part of the name, ignoring case; `submitted_by` the name or id of an API key, or `me`.
    """

    state: AnyState | Sequence[AnyState]
    kind: AnyKind
    tag: str
    queue: str
    worker: str
    q: str
    submitted_by: str
    created_after: datetime
    created_before: datetime
    sort: str


class ModelChanges(TypedDict, total=False):
    """Fields of a model that can be changed; None removes the value."""

    alias: str | None
    description: str | None


class WebhookChanges(TypedDict, total=False):
    """Fields of a webhook that can be changed; None removes the value; without a filter, all jobs match."""

    url: str
    description: str | None
    queue: str | None
    kind: AnyKind | None
    states: Sequence[AnyEndState]
    paused: bool


def with_spec(fields: Mapping[str, Any], spec: type[BaseModel], request: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a request, with those of its specification under `spec`.

    Raises:
        UnknownField: a field belongs neither to the request nor to its specification.
    """
    known = [*spec.model_fields, *request.model_fields]
    for name in fields:
        if name not in known:
            similar = get_close_matches(name, known, 1)
            hint = f": did you mean `{similar[0]}`?" if similar else ""
            raise UnknownField(f"a job has no field `{name}`{hint}")
    in_spec = {name: value for name, value in fields.items() if name in spec.model_fields}
    return {**{name: fields[name] for name in fields if name not in in_spec}, "spec": in_spec}
