"""Sweeps: training jobs that differ in some parameters."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, Strict, WithJsonSchema

from shared.lifecycle import JobState
from shared.schemas.base import Request, Response, StrictNumber
from shared.schemas.job_requests import TrainJobCreate
from shared.schemas.metrics import Mode
from shared.schemas.specs import Seed, TrainRequest
from shared.texts import STORABLE, advice

MAX_SWEEP_JOBS = 1_000


def _require_field_of_spec(name: str) -> str:
    if name not in TrainRequest.model_fields:
        raise ValueError(f"is not a field of the specification: {advice(name, TrainRequest.model_fields)}")
    return name


_SweptField = Annotated[
    str,
    AfterValidator(_require_field_of_spec),
    WithJsonSchema({"type": "string", "enum": list(TrainRequest.model_fields)}),
]
_Choice = (
    Annotated[bool, Strict()]
    | Annotated[int, StrictNumber]
    | Annotated[float, StrictNumber]
    | Annotated[str, Field(pattern=STORABLE)]
)
Choices = Annotated[
    tuple[_Choice, ...],
    Field(min_length=1, max_length=MAX_SWEEP_JOBS, description="The values to choose from."),
]


DEFAULT_OBJECTIVE = "evaluation_accuracy"
"""The metric by which a sweep's jobs are ranked by default."""


class Range(Request):
    """A range of numbers to draw from: uniformly, or with `log` uniformly on a logarithmic scale."""

    min: Annotated[float, StrictNumber]
    max: Annotated[float, StrictNumber]
    log: Annotated[bool, Strict()] = False

    @property
    def is_possible(self) -> bool:
        """Whether a number can be drawn from it."""
        return self.min <= self.max and (self.min > 0 or not self.log)


class GridSweepCreate(TrainJobCreate):
    """A request for one job for each combination of the parameters' values; `spec` holds the other fields."""

    model_config = ConfigDict(json_schema_extra={"required": ["strategy", "parameters"]})

    strategy: Literal["grid"] = "grid"
    parameters: Annotated[dict[_SweptField, Choices], Field(min_length=1)]


class RandomSweepCreate(TrainJobCreate):
    """A request for `count` jobs with randomly drawn parameters; `spec` holds the other fields."""

    model_config = ConfigDict(json_schema_extra={"required": ["strategy", "count", "parameters"]})

    strategy: Literal["random"] = "random"
    count: Annotated[int, Field(ge=1, le=MAX_SWEEP_JOBS), StrictNumber]
    sweep_seed: Seed | None = Field(default=None, description="Determines the drawn values; default: random.")
    parameters: Annotated[dict[_SweptField, Choices | Range], Field(min_length=1)]


SweepCreate = Annotated[GridSweepCreate | RandomSweepCreate, Field(discriminator="strategy")]


class SweepResult(Response):
    """A job of a sweep, with its parameters and its value of the objective.

    Attributes:
        parameters: its values of the swept fields.
        value: of the objective; None while there is none, and while the job waits.
    """

    job_id: UUID
    state: JobState
    parameters: dict[str, Any]
    value: float | None


class Sweep(Response):
    """A sweep, with its best job.

    Attributes:
        parameters: the swept fields with their choices or ranges, as requested.
        states: number of jobs in each state.
        objective: the metric by which its jobs are ranked.
        mode: whether its least or its greatest value is the best.
        best: the best job; None while no job has a value of the objective.
        api_key_id: the API key that submitted it; None if it was one of `API_KEYS`, or none.
        submitted_by: the name of that key.
    """

    id: UUID
    name: str | None
    strategy: Literal["grid", "random"]
    parameters: dict[str, Any]
    states: dict[JobState, int]
    objective: str
    mode: Mode
    best: SweepResult | None
    created_at: datetime
    api_key_id: UUID | None = None
    submitted_by: str | None = None


class SweepDetail(Sweep):
    """A sweep with all its jobs, best first; jobs without a value of the objective come last."""

    jobs: tuple[SweepResult, ...]
