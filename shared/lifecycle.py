"""The job state machine: states, and the events that change them. Standard library only.

`EVENTS` defines which changes are possible; `shared.store.transitions` makes them, and the database's
triggers and constraints refuse any other.
"""

from dataclasses import dataclass
from enum import StrEnum


class JobKind(StrEnum):
    """The kind of work that a job does."""

    TRAIN = "train"  # trains a model and evaluates it
    EVALUATE = "evaluate"  # evaluates a stored model

    __repr__ = str.__repr__  # shown in pydantic's error messages


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"  # waits for a worker's claim or a user's cancel request
    RUNNING = "running"  # a worker holds its lease; that worker reports its end, or the reconciler reaps it
    SUCCEEDED = "succeeded"  # terminal: its results are stored
    FAILED = "failed"  # terminal: a retry would not help, or no attempt was left
    CANCELLED = "cancelled"  # terminal: a user requested it


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Phase(StrEnum):
    """The phase of a running job, for display only."""

    LOADING_DATA = "loading_data"
    BUILDING_MODEL = "building_model"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"


class EventType(StrEnum):
    """The type of a recorded event of a job; every change of a job's row is one event."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    PROGRESS = "progress"  # the phases and epochs since the attempt's last write
    CANCEL_REQUESTED = "cancel_requested"
    EDITED = "edited"
    RELEASED = "released"
    LEASE_EXPIRED = "lease_expired"
    RETRY_SCHEDULED = "retry_scheduled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Edge:
    """The state change that an event makes.

    Attributes:
        sources: the states in which the event is possible; empty for the event that creates the job.
        target: the state after the event; None if the state stays the same.
    """

    sources: frozenset[JobState]
    target: JobState | None


_QUEUED = frozenset({JobState.QUEUED})
_RUNNING = frozenset({JobState.RUNNING})

EVENTS: dict[EventType, Edge] = {
    EventType.SUBMITTED: Edge(frozenset(), JobState.QUEUED),
    EventType.CLAIMED: Edge(_QUEUED, JobState.RUNNING),
    EventType.PROGRESS: Edge(_RUNNING, None),
    EventType.CANCEL_REQUESTED: Edge(_RUNNING, None),
    EventType.EDITED: Edge(frozenset(JobState), None),  # the job's name or tags
    EventType.RELEASED: Edge(_RUNNING, JobState.QUEUED),  # the worker was stopped, or the job preempted
    EventType.LEASE_EXPIRED: Edge(_RUNNING, JobState.QUEUED),  # the worker or its process was lost
    EventType.RETRY_SCHEDULED: Edge(_RUNNING, JobState.QUEUED),  # a transient error
    EventType.SUCCEEDED: Edge(_RUNNING, JobState.SUCCEEDED),
    EventType.FAILED: Edge(_RUNNING, JobState.FAILED),
    EventType.CANCELLED: Edge(_QUEUED | _RUNNING, JobState.CANCELLED),
}

TRANSITIONS: frozenset[tuple[JobState, JobState]] = frozenset(
    (source, edge.target)
    for edge in EVENTS.values()
    for source in edge.sources
    if edge.target is not None and edge.target != source
)


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"  # the worker was stopped, or an urgent job has preempted this one
    LOST = "lost"  # its lease expired, or its process was killed


class WorkerState(StrEnum):
    """The state of a worker, which says whether it takes new jobs."""

    ONLINE = "online"  # takes jobs
    DRAINING = "draining"  # finishes its running jobs and takes no more
    STOPPED = "stopped"  # has ended
    LOST = "lost"  # never stored: its last heartbeat is too old


STORED_WORKER_STATES = frozenset(WorkerState) - {WorkerState.LOST}
