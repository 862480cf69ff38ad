"""What clients ask of jobs: to make them, list them, change them."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field

from shared.lifecycle import JobState
from shared.schemas.base import A_NUMBER, CHANGES, PRINTABLE, Request, Response
from shared.schemas.problems import Problem
from shared.schemas.specs import EvaluateRequest, SpecChanges, TrainRequest

DEFAULT_QUEUE = "default"
QUEUE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"


class Priority(StrEnum):
    """Which jobs of a queue go first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


def _unique(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))


Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=16), AfterValidator(_unique)]


class _JobOptions(Request):
    name: str | None = Field(default=None, min_length=1, max_length=200, pattern=PRINTABLE)
    tags: Tags = ()
    queue: str = Field(default=DEFAULT_QUEUE, pattern=QUEUE_PATTERN)
    priority: Priority = Priority.NORMAL
    max_attempts: Annotated[int, Field(ge=1, le=10), A_NUMBER] = Field(
        default=3, description="Failed attempts after which the job fails."
    )
    max_runtime_s: Annotated[float, Field(gt=0, le=7 * 86_400), A_NUMBER] | None = Field(
        default=None, description="Seconds that one attempt may run."
    )


class TrainJobCreate(_JobOptions):
    """A request to train a model and evaluate it."""

    # the default is for callers in Python: over HTTP it tells which of the two forms a request has
    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})

    kind: Literal["train"] = "train"
    spec: TrainRequest = TrainRequest()


class EvaluateJobCreate(_JobOptions):
    """A request to evaluate a stored model."""

    kind: Literal["evaluate"]
    spec: EvaluateRequest


JobCreate = Annotated[TrainJobCreate | EvaluateJobCreate, Field(discriminator="kind")]


class JobOrder(StrEnum):
    """How a list of jobs is sorted: `-` for descending. Jobs without such a value come last, newest first."""

    NEWEST = "-created_at"
    OLDEST = "created_at"
    LONGEST = "-duration"
    SHORTEST = "duration"
    BEST_VAL_ACCURACY = "-val_accuracy"
    WORST_VAL_ACCURACY = "val_accuracy"
    BEST_EVALUATION = "-evaluation_accuracy"
    WORST_EVALUATION = "evaluation_accuracy"


def _written(value: Any) -> Any:
    # pydantic would take a number for seconds since 1970
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        raise ValueError("must be a moment as in RFC 3339, such as 2026-01-02T03:04:05Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a moment of the years 1 to 9999 in UTC") from None


_Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]


class JobListQuery(Request):
    """Which jobs are listed, in which order, and how many at once. A job must fit every filter."""

    state: tuple[JobState, ...] = Field(
        default=(), max_length=len(JobState), description="Any of these; may be given more than once."
    )
    kind: Literal["train", "evaluate"] | None = None
    tag: Tag | None = None
    queue: str | None = Field(default=None, pattern=QUEUE_PATTERN)
    worker: str | None = Field(
        default=None,
        max_length=200,
        pattern=PRINTABLE,
        description="The id of a worker that ran it, or runs it.",
    )
    q: str | None = Field(
        default=None, max_length=200, pattern=PRINTABLE, description="A part of its name, in whatever case."
    )
    created_after: _Moment | None = Field(default=None, description="Then or later.")
    created_before: _Moment | None = Field(default=None, description="Earlier than then.")
    sort: JobOrder = JobOrder.NEWEST
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(
        default=None, max_length=1_000, description="`next_cursor` of the page before, with the same `sort`."
    )


class JobPatch(Request):
    """What may change of a job at any time. What is left out stays; a name of null takes it away."""

    model_config = CHANGES

    name: str | None = Field(default=None, min_length=1, max_length=200, pattern=PRINTABLE)
    tags: Tags = ()


class JobClone(_JobOptions):
    """How a new job differs from the one that it is made after. What is left out is as there."""

    model_config = CHANGES

    spec: SpecChanges = SpecChanges()


class BatchAction(StrEnum):
    """What is done to each job of a batch."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


def _distinct(ids: tuple[UUID, ...]) -> tuple[UUID, ...]:
    return tuple(dict.fromkeys(ids))


class JobBatch(Request):
    """One action for many jobs, each on its own: what fails for one is done for the others."""

    action: BatchAction
    ids: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=200), AfterValidator(_distinct)]


class BatchResult(Response):
    """What became of one job of a batch.

    Attributes:
        status: as the same request for this job alone is answered.
        new_id: of the job that a retry made.
        problem: why it was not done.
    """

    id: UUID
    status: int
    new_id: UUID | None = None
    problem: Problem | None = None


class BatchResults(Response):
    """What became of each job, in the order in which they were named."""

    data: tuple[BatchResult, ...]
