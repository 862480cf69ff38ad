"""Jobs, as the API returns them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from shared.lifecycle import AttemptOutcome, JobKind, JobState, Phase
from shared.schemas.base import Response
from shared.schemas.job_requests import Priority
from shared.schemas.specs import EvaluateSpec, TrainSpec


class Progress(Response):
    """A training job's progress, in epochs and steps.

    Attributes:
        epoch: recorded epochs.
        step: steps, with those so far of the epoch that is being trained.
        eta_s: estimated seconds until the last epoch, at the pace of the last five, or of the first one's
            steps; None unless the job is running and has recorded any.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    percent: float
    eta_s: float | None = None


class Attempt(Response):
    """An attempt of a worker to run a job.

    Attributes:
        versions: of what it ran with: `python`, the libraries, `trainshed` and its `commit` if that is known.
        dataset_sha256: of all images and labels; None until they are loaded.
    """

    number: int
    worker: str
    device: str
    versions: dict[str, str]
    dataset_sha256: str | None = None
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
    """A training or evaluation job."""

    id: UUID
    kind: JobKind
    state: JobState
    phase: Phase | None
    name: str | None
    tags: tuple[str, ...]
    queue: str
    priority: Priority
    spec: TrainSpec | EvaluateSpec
    attempt: int
    max_attempts: int
    lost_attempts: int = Field(
        description="Attempts that were lost with their worker or process, since its last recorded epoch."
    )
    max_runtime_s: float | None
    version: int
    progress: Progress | None
    values: dict[str, float | None] = Field(
        description="The last value of each metric that it has recorded; null: not a finite number. "
        "Of an evaluation, `evaluation_accuracy` and `evaluation_loss`."
    )
    model_id: UUID | None
    sweep_id: UUID | None = None
    tenant: str | None = Field(
        default=None, description="Whose turn it takes: `team NAME`, `key ID`, or `address ADDRESS`."
    )
    api_key_id: UUID | None = Field(
        default=None, description="The API key that submitted it; null if it was one of `API_KEYS`, or none."
    )
    submitted_by: str | None = Field(default=None, description="The name of that key.")
    retry_of: UUID | None
    error: JobError | None
    cancel_requested_at: datetime | None
    scheduled_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None = Field(
        default=None,
        description="Seconds for which its attempts ran, without the time between them; null until it ends.",
    )


class WaitingFor(StrEnum):
    """Why a queued job is not running: the first of these reasons that applies."""

    PAUSED = "paused"  # its queue is paused
    PREDECESSORS = "predecessors"  # a job that it is to run after has not succeeded yet
    NO_WORKER_ONLINE = "no_worker_online"  # no online worker serves its queue
    SCHEDULED = "scheduled"  # it must not start before `scheduled_at`, as after a failed attempt
    QUEUE_LIMIT = "queue_limit"  # as many jobs of its queue run as may run at the same time
    KEY_LIMIT = "key_limit"  # as many jobs of its API key run as may run at the same time
    ALL_BUSY = "all_busy"  # no online worker of its queue has a free slot


MAX_POSITION = 1_000
"""Positions in a queue are counted up to this number."""


class JobDetail(Job):
    """A job with its attempts and its position in the queue.

    Attributes:
        queue_position: from 1, the next job to start; 1,000 also means any later position. None unless the
            job is queued.
        waiting_for: None if the job is about to start, or not queued.
        tenant_queued, tenant_running: its tenant's jobs in its queue, each at most 1,000. None unless the
            job is queued.
        starts_in_s: about how long it will wait while all slots are busy; None if nobody can tell.
    """

    attempts: tuple[Attempt, ...]
    queue_position: int | None = None
    waiting_for: WaitingFor | None = None
    tenant_queued: int | None = None
    tenant_running: int | None = None
    starts_in_s: float | None = None


class FinishedInMinute(Response):
    """How many jobs finished within a minute.

    Attributes:
        at: the beginning of the minute.
    """

    at: datetime
    succeeded: int
    failed: int
    cancelled: int


class Throughput(Response):
    """How many jobs finished in each of the last minutes, the oldest first; the last minute still goes on."""

    data: tuple[FinishedInMinute, ...]


class JobCounts(Response):
    """The number of jobs: in total, in each state, and in each state of each queue."""

    total: int
    states: dict[JobState, int]
    queues: dict[str, dict[JobState, int]]
