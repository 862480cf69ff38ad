"""What has happened to jobs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from shared.lifecycle import EventType, JobState
from shared.schemas.base import Response


class JobEvent(Response):
    """A dated fact about a job.

    Attributes:
        seq: 1, 2, 3, ... for each job: the job's `version` that it made.
        at: by the database's clock.
        attempt: during which it happened; 0 before the first.
        data: what it tells beyond its type, such as `phase`, or the `epochs` that were recorded.
    """

    job_id: UUID
    seq: int
    at: datetime
    type: EventType
    attempt: int
    data: dict[str, Any]


class EventPage(Response):
    """A job's next events, in order."""

    data: tuple[JobEvent, ...]
    has_more: bool


class StreamEnd(Response):
    """Why a job's stream has ended: the state that it is in for good; None if it was deleted."""

    state: JobState | None
