"""Events: the history of jobs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from shared.lifecycle import EventType, JobState
from shared.schemas.base import Response


class JobEvent(Response):
    """A change of a job.

    Attributes:
        seq: 1, 2, 3, ... within the job; equals the job's `version` after the change.
        at: the time by the database's clock.
        attempt: the attempt that was running; 0 before the first attempt.
        data: details, depending on the type. Those of `progress`, which tells of all that happened since the
            attempt's last write, are the entered `phases` (`phase`, `at`) and the finished `epochs` (`epoch`
            from 0, its metrics, `seconds`, `at`); one of these lists may be empty.
    """

    job_id: UUID
    seq: int
    at: datetime
    type: EventType
    attempt: int
    data: dict[str, Any]


class StreamEnd(Response):
    """The last message of a job's event stream: the job's final state, or None if the job was deleted."""

    state: JobState | None


class StreamSteps(Response):
    """Says in a job's event stream how far its present epoch is, of which there is no event yet.

    Attributes:
        attempt: that trains it.
        epoch: from 0.
        steps: of it that have been recorded so far.
    """

    job_id: UUID
    attempt: int
    epoch: int
    steps: int


class StreamReset(Response):
    """Says that a job's event stream begins again, because the job is older than the client has seen it.

    Attributes:
        version: of the job now, which is the number of its last event.
    """

    version: int
