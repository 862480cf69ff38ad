"""Sweeps as they cross the border: what clients send, and what the API answers."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, Strict

from shared.lifecycle import JobState
from shared.schemas.base import A_NUMBER, Request, Response
from shared.schemas.job_requests import TrainJobCreate
from shared.schemas.metrics import MetricName
from shared.schemas.specs import Seed

MAX_SWEEP_JOBS = 1_000
Swept = Literal[
    "model",
    "learning_rate",
    "batch_size",
    "epochs",
    "optimizer",
    "train_size",
    "validation_size",
    "evaluation_size",
    "seed",
]


_Choice = Annotated[int, A_NUMBER] | Annotated[float, A_NUMBER] | str
Choices = Annotated[
    tuple[_Choice, ...], Field(min_length=1, max_length=MAX_SWEEP_JOBS, description="The values.")
]


Objective = Literal["evaluation_accuracy", "accuracy", "val_accuracy", "loss", "val_loss"]
LESS_IS_BETTER = frozenset({MetricName.LOSS.value, MetricName.VAL_LOSS.value})


class Range(Request):
    """Numbers from `min` to `max`, drawn evenly; with `log`, so that each order of magnitude is as likely."""

    min: Annotated[float, A_NUMBER]
    max: Annotated[float, A_NUMBER]
    log: Annotated[bool, Strict()] = False

    @property
    def is_possible(self) -> bool:
        """Whether there are such numbers."""
        return self.min <= self.max and (self.min > 0 or not self.log)


class GridSweepCreate(TrainJobCreate):
    """Jobs for every combination of the values; the rest of each is as in `spec`."""

    model_config = ConfigDict(json_schema_extra={"required": ["strategy", "parameters"]})

    strategy: Literal["grid"]
    parameters: Annotated[dict[Swept, Choices], Field(min_length=1)]


class RandomSweepCreate(TrainJobCreate):
    """`count` jobs, each with values drawn by chance; the rest of each is as in `spec`."""

    model_config = ConfigDict(json_schema_extra={"required": ["strategy", "count", "parameters"]})

    strategy: Literal["random"]
    count: Annotated[int, Field(ge=1, le=MAX_SWEEP_JOBS), A_NUMBER]
    sweep_seed: Seed | None = Field(default=None, description="The same, the same values; drawn if left out.")
    parameters: Annotated[dict[Swept, Choices | Range], Field(min_length=1)]


SweepCreate = Annotated[GridSweepCreate | RandomSweepCreate, Field(discriminator="strategy")]


class SweepResult(Response):
    """One job of a sweep.

    Attributes:
        parameters: its values of those that are swept.
        value: of the objective; None as long as there is none.
    """

    job_id: UUID
    state: JobState
    parameters: dict[str, Any]
    value: float | None


class Sweep(Response):
    """Some jobs that differ in some parameters.

    Attributes:
        parameters: what is swept, as it was asked for.
        states: how many of the jobs are in each state.
        objective: what the jobs are compared by.
        best: of the jobs that have a value; None if there is none.
    """

    id: UUID
    name: str | None
    strategy: Literal["grid", "random"]
    parameters: dict[str, Any]
    states: dict[JobState, int]
    objective: Objective
    best: SweepResult | None
    created_at: datetime


class SweepDetail(Sweep):
    """A sweep with its jobs, the best first, those without a value last."""

    jobs: tuple[SweepResult, ...]


class SweepPage(Response):
    """A page of sweeps, newest first."""

    data: tuple[Sweep, ...]
    next_cursor: str | None
    has_more: bool
