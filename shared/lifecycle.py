"""The life of a job: its states, and the events that move it from one to another. Standard library only.

`EVENTS` is the whole truth about which change is possible; `shared.store.transitions` makes the changes, and
the database's triggers and constraints refuse any other.
"""

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is. Each comment says who moves it out of there."""

    QUEUED = "queued"  # waits for a worker: leaves by a worker's claim, or by a user's cancel
    RUNNING = "running"  # one worker holds its lease: leaves by that worker's report, or by the reconciler
    SUCCEEDED = "succeeded"  # final: its results are stored
    FAILED = "failed"  # final: an error that another attempt cannot cure, or no attempt was left
    CANCELLED = "cancelled"  # final: a user asked for it


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Phase(StrEnum):
    """What a running job is doing, for people to read. Nothing is decided by it."""

    LOADING_DATA = "loading_data"
    BUILDING_MODEL = "building_model"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"


class EventType(StrEnum):
    """A dated fact about a job. Every change of a job's row is one event."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    PHASE_ENTERED = "phase_entered"
    EPOCHS_RECORDED = "epochs_recorded"
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
    """What an event needs, and where it leads.

    Attributes:
        sources: the states that the job may be in; empty for the event that creates it.
        target: the state that the job is in afterwards; None leaves it as it was.
    """

    sources: frozenset[JobState]
    target: JobState | None


_QUEUED = frozenset({JobState.QUEUED})
_RUNNING = frozenset({JobState.RUNNING})

EVENTS: dict[EventType, Edge] = {
    EventType.SUBMITTED: Edge(frozenset(), JobState.QUEUED),
    EventType.CLAIMED: Edge(_QUEUED, JobState.RUNNING),
    EventType.PHASE_ENTERED: Edge(_RUNNING, None),
    EventType.EPOCHS_RECORDED: Edge(_RUNNING, None),
    EventType.CANCEL_REQUESTED: Edge(_RUNNING, None),
    EventType.EDITED: Edge(frozenset(JobState), None),  # its name or tags, which decide nothing
    EventType.RELEASED: Edge(_RUNNING, JobState.QUEUED),  # a graceful stop
    EventType.LEASE_EXPIRED: Edge(_RUNNING, JobState.QUEUED),  # a lost worker
    EventType.RETRY_SCHEDULED: Edge(_RUNNING, JobState.QUEUED),  # an error that may pass
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
    RELEASED = "released"  # given back by a worker that was asked to stop
    LOST = "lost"  # its lease expired
