"""Workers and queues."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from shared.schemas.base import Response
from shared.schemas.job_requests import Priority


class Worker(Response):
    """A worker, as it last described itself.

    Attributes:
        slots: jobs that it can run at once.
        busy_slots: jobs that it runs.
        jobs: which.
        state: `online`, `draining` (takes no more jobs), `stopped`, or `lost` (not heard of for too long).
        heartbeat_age_s: seconds since it was last heard of, by the database's clock.
    """

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    devices: tuple[str, ...]
    slots: int
    versions: dict[str, str]
    state: Literal["online", "draining", "stopped", "lost"]
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_s: float
    busy_slots: int = 0
    jobs: tuple[UUID, ...] = ()


class WorkerList(Response):
    """The workers, last heard of first."""

    data: tuple[Worker, ...]


class Queue(Response):
    """A queue that has jobs or workers, is paused, or is named in the API's settings.

    Attributes:
        queued: jobs that wait, by priority.
        oldest_waiting_s: for how long the oldest of them has waited.
        workers: that serve it and take jobs now.
        slots: that these have.
    """

    name: str
    paused: bool
    queued: dict[Priority, int]
    oldest_waiting_s: float | None
    running: int
    workers: int
    slots: int


class QueueList(Response):
    """The queues by name."""

    data: tuple[Queue, ...]


class QueueLoad(Response):
    """What an autoscaler needs to know of a queue.

    Attributes:
        queued: jobs that wait and may be started; of a paused queue, none may.
        workers: that take jobs now.
        desired: workers that could run them all at once, with as many slots each as those have.
    """

    queued: int
    running: int
    workers: int
    desired: int


class Autoscaling(Response):
    """The load of each queue."""

    queues: dict[str, QueueLoad]
