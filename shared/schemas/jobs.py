"""Jobs, as the API shows them."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import Field

from shared.lifecycle import AttemptOutcome, JobState, Phase
from shared.schemas.base import Response
from shared.schemas.job_requests import Priority
from shared.schemas.specs import EvaluateSpec, TrainSpec


class LastMetrics(Response):
    """The newest epoch's numbers."""

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


class Progress(Response):
    """How far a job has come. Epochs count those that are recorded.

    Attributes:
        eta_s: seconds that the epochs to come will take at the pace of the last five; None unless it
            runs and has recorded one.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    percent: float
    eta_s: float | None = None


class Attempt(Response):
    """One try to run a job."""

    number: int
    worker: str
    device: str
    versions: dict[str, str]
    started_at: datetime
    finished_at: datetime | None
    outcome: AttemptOutcome | None
    error_code: str | None
    error_message: str | None


class JobError(Response):
    """Why a job failed."""

    code: str
    message: str


class Job(Response):
    """A job, as the API shows it."""

    id: UUID
    kind: Literal["train", "evaluate"]
    state: JobState
    phase: Phase | None
    name: str | None
    tags: tuple[str, ...]
    queue: str
    priority: Priority
    spec: TrainSpec | EvaluateSpec
    attempt: int
    max_attempts: int
    crashes: int
    max_runtime_s: float | None
    version: int
    progress: Progress | None
    metrics: LastMetrics | None
    evaluation_accuracy: float | None
    model_id: UUID | None
    sweep_id: UUID | None = None
    retry_of: UUID | None
    error: JobError | None
    cancel_requested_at: datetime | None
    scheduled_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None = Field(
        default=None, description="From the first attempt's start to the job's end."
    )


class WaitingFor(StrEnum):
    """Why a queued job is not run: the first of these that is so."""

    PAUSED = "paused"  # its queue is paused
    NO_WORKER_ONLINE = "no_worker_online"  # that serves its queue and takes jobs
    SCHEDULED = "scheduled"  # it is not to be started before `scheduled_at`, as after a failed attempt
    ALL_BUSY = "all_busy"  # every worker of its queue has its slots full


class JobDetail(Job):
    """A job with its attempts.

    Attributes:
        queue_position: 1 for the job that its queue gives next; None unless it is queued.
        waiting_for: None where it is about to run, or not queued.
    """

    attempts: tuple[Attempt, ...]
    queue_position: int | None = None
    waiting_for: WaitingFor | None = None


class JobPage(Response):
    """A page of jobs, newest first."""

    data: tuple[Job, ...]
    next_cursor: str | None
    has_more: bool


class JobCounts(Response):
    """How many jobs there are, in each state, and in each state of each queue."""

    total: int
    states: dict[JobState, int]
    queues: dict[str, dict[JobState, int]]
