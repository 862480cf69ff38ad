"""Workers and queues."""

from datetime import datetime
from uuid import UUID

from shared.lifecycle import AttemptOutcome, JobKind, WorkerState
from shared.schemas.base import MaxRunning, Request, Response
from shared.schemas.job_requests import Priority


class Worker(Response):
    """A worker.

    Attributes:
        slots: jobs that it can run at the same time.
        busy_slots: number of jobs that it is running; `jobs` has their ids.
        heartbeat_age_s: seconds since its last heartbeat, by the database's clock.
        memory_bytes: resident memory of its processes at its last heartbeat; None: unknown, or none.
    """

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    devices: tuple[str, ...]
    slots: int
    versions: dict[str, str]
    state: WorkerState
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_s: float
    memory_bytes: int | None = None
    busy_slots: int = 0
    jobs: tuple[UUID, ...] = ()


class WorkerAttempt(Response):
    """An attempt of a worker to run a job.

    Attributes:
        number: which attempt at the job it is, from 1.
        name: the job's.
        outcome: None while it runs.
    """

    job_id: UUID
    number: int
    kind: JobKind
    name: str | None
    device: str
    started_at: datetime
    finished_at: datetime | None
    outcome: AttemptOutcome | None
    error_code: str | None
    error_message: str | None


class Queue(Response):
    """A queue that has unfinished jobs or workers, is paused or limited, or is named in the API's settings.

    Attributes:
        queued: queued jobs by priority.
        oldest_waiting_s: how long the oldest queued job has waited; None if none is queued.
        workers: online workers that serve it.
        slots: the sum of those workers' slots.
        max_running: how many of its jobs run at the same time; None: not limited.
    """

    name: str
    paused: bool
    queued: dict[Priority, int]
    oldest_waiting_s: float | None
    running: int
    workers: int
    slots: int
    max_running: int | None = None


class QueueUpdate(Request):
    """A change of a queue."""

    max_running: MaxRunning


class TenantLoad(Response):
    """The unfinished jobs of a tenant in a queue.

    Attributes:
        tenant: such as `team NAME`, `key ID` or `address ADDRESS`; None if it is unknown.
        name: of the sweep or the key, if it has one.
        longest_wait_s: how long the oldest of its queued jobs has waited; None if none is queued.
    """

    tenant: str | None
    name: str | None
    queued: int
    running: int
    longest_wait_s: float | None


class QueueTenants(Response):
    """The tenants of a queue, those with the most waiting jobs first."""

    data: tuple[TenantLoad, ...]


class QueueLoad(Response):
    """A queue's load, for an autoscaler.

    Attributes:
        queued: queued jobs that may be started; 0 if the queue is paused.
        workers: online workers that serve it.
        desired: workers needed to run all of its jobs at the same time, each with as many slots as the online
            workers have on average.
    """

    queued: int
    running: int
    workers: int
    desired: int


class Autoscaling(Response):
    """The load of each queue, for an autoscaler."""

    queues: dict[str, QueueLoad]
