"""Request schemas for jobs: submit, list, edit, clone, batch."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field

from shared.lifecycle import JobKind, JobState
from shared.schemas.base import PARTIAL_UPDATE, Request, Response, StrictNumber
from shared.schemas.ids import IdReference
from shared.schemas.problems import Problem
from shared.schemas.refusals import QUEUE_PATTERN
from shared.schemas.specs import EvaluateRequest, SpecChanges, TrainRequest
from shared.texts import PRINTABLE

DEFAULT_QUEUE = "default"


class Priority(StrEnum):
    """The head start of a job over others that are submitted at the same time."""

    URGENT = "urgent"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]
_SearchText = Annotated[str, Field(max_length=200, pattern=PRINTABLE)]
SubmittedBy = Annotated[
    _SearchText,
    Field(
        description="Submitted by the API keys with this id or name; `me`: by that of the request; `none`: "
        "by none, or one of `API_KEYS`."
    ),
]
"""A filter of lists: whose jobs, sweeps or models."""
Tags = Annotated[tuple[Tag, ...], Field(max_length=16), AfterValidator(_distinct)]


def _require_rfc_3339(value: Any) -> Any:
    # pydantic would take a number, and a text of digits, for seconds since 1970
    is_text = isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]", value)
    if not is_text and not isinstance(value, datetime):
        raise ValueError("must be a time as in RFC 3339, such as 2026-01-02T03:04:05Z")
    return value


def _to_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time of the years 1 to 9999 in UTC") from None


UtcTime = Annotated[AwareDatetime, BeforeValidator(_require_rfc_3339), AfterValidator(_to_utc)]
"""A time with a time zone, converted to UTC."""


class _JobOptions(Request):
    name: str | None = Field(default=None, min_length=1, max_length=200, pattern=PRINTABLE)
    tags: Tags = ()
    queue: str = Field(default=DEFAULT_QUEUE, pattern=QUEUE_PATTERN)
    priority: Priority = Priority.NORMAL
    max_attempts: Annotated[int, Field(ge=1, le=10), StrictNumber] = Field(
        default=3, description="Number of failed attempts after which the job fails."
    )
    max_runtime_s: Annotated[float, Field(gt=0, le=7 * 86_400), StrictNumber] | None = Field(
        default=None, description="Seconds after which an attempt is ended."
    )


class _JobSubmission(_JobOptions):
    scheduled_at: UtcTime | None = Field(
        default=None, description="The job does not start before this time; null: it may start at once."
    )
    after: Annotated[tuple[IdReference, ...], Field(max_length=16), AfterValidator(_distinct)] = Field(
        default=(),
        description="Jobs that must succeed before it starts. If one fails or is cancelled, this one is "
        "cancelled, within seconds where thousands are. At most 20,000 jobs run after one, or in a row. An "
        "evaluation may name one of them as its model: the one that it trains.",
    )


class TrainJobCreate(_JobSubmission):
    """A request to train a model and evaluate it."""

    # the default is for Python; in JSON `kind` is required, since it selects the schema of the request
    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})

    kind: Literal[JobKind.TRAIN] = JobKind.TRAIN
    spec: TrainRequest = TrainRequest()


class EvaluateJobCreate(_JobSubmission):
    """A request to evaluate a stored model."""

    model_config = ConfigDict(json_schema_extra={"required": ["kind", "spec"]})

    kind: Literal[JobKind.EVALUATE] = JobKind.EVALUATE
    spec: EvaluateRequest


JobCreate = Annotated[TrainJobCreate | EvaluateJobCreate, Field(discriminator="kind")]


NEWEST_FIRST = "-created_at"
"""The order of a job list by default."""
JobOrder = Annotated[
    str,
    Field(
        pattern=r"^-?[^\x00-\x1f\x7f-][^\x00-\x1f\x7f]{0,127}$",
        description="`created_at`, `duration` or the name of a metric; `-` before it means descending. "
        "Jobs without the value come last, newest first; they have that of a metric once they have ended.",
    ),
]
"""The order of a job list."""


class JobListQuery(Request):
    """The filters and the order of a job list. A job must match every filter."""

    state: tuple[JobState, ...] = Field(
        default=(), max_length=len(JobState), description="In one of these states; may be repeated."
    )
    kind: JobKind | None = None
    tag: Tag | None = None
    queue: str | None = Field(default=None, pattern=QUEUE_PATTERN)
    worker: _SearchText | None = Field(default=None, description="Id of a worker that runs or ran the job.")
    q: _SearchText | None = Field(default=None, description="A part of the name, ignoring case.")
    submitted_by: SubmittedBy | None = None
    created_after: UtcTime | None = Field(default=None, description="Submitted at this time or later.")
    created_before: UtcTime | None = Field(default=None, description="Submitted before this time.")
    sort: JobOrder = NEWEST_FIRST
    limit: int = Field(default=50, ge=1, le=200, description="Maximum number of jobs in the page.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the previous page (same `sort`).")


class JobPatch(Request):
    """Changes of a job. Omitted fields stay unchanged; null removes the name.

    The name and the tags may change in any state, the queue and the priority while the job is queued.
    """

    model_config = PARTIAL_UPDATE

    name: str | None = Field(default=None, min_length=1, max_length=200, pattern=PRINTABLE)
    tags: Tags = ()
    queue: str = Field(default=DEFAULT_QUEUE, pattern=QUEUE_PATTERN)
    priority: Priority = Priority.NORMAL


class JobClone(_JobOptions):
    """The differences between a new job and the job that it copies. Omitted fields are copied."""

    model_config = PARTIAL_UPDATE

    spec: SpecChanges = SpecChanges()


class BatchAction(StrEnum):
    """An action that can be applied to several jobs at once."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


class JobBatch(Request):
    """A request to apply one action to several jobs. Each job succeeds or fails on its own."""

    action: BatchAction
    ids: Annotated[tuple[IdReference, ...], Field(min_length=1, max_length=200), AfterValidator(_distinct)]


class BatchResult(Response):
    """The result of a batch for one job.

    Attributes:
        status: the HTTP status that the same request for this job alone would have.
        new_id: the id of the job that a retry submitted.
        problem: why the action failed.
    """

    id: UUID
    status: int
    new_id: UUID | None = None
    problem: Problem | None = None


class BatchResults(Response):
    """The results of a batch, in the order of the request's ids."""

    data: tuple[BatchResult, ...]
