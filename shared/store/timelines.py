"""The course of a job: its events in order, with the phases and the recorded epochs of each attempt."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.db.tables import IS_COMPLETE
from shared.lifecycle import EventType

_EVENT, _EPOCH = tables.JobEvent, tables.Epoch


@dataclass(frozen=True)
class EnteredPhase:
    """A phase that an attempt has entered."""

    attempt: int
    phase: str
    at: datetime


@dataclass(frozen=True)
class RecordedEpochs:
    """The epochs that an attempt has recorded, without a gap.

    Attributes:
        first, last: from 0.
        since, until: when the first and the last of them were finished.
    """

    attempt: int
    first: int
    last: int
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Timeline:
    """The course of a job.

    Attributes:
        events: all but those of the type `progress`, oldest first.
        phases: oldest first.
        epochs: of the attempts that have recorded any, in their order.
    """

    events: list[schemas.JobEvent]
    phases: list[EnteredPhase]
    epochs: list[RecordedEpochs]


def read(session: Session, job_id: UUID) -> Timeline:
    """Return a job's course; that of a job with a thousand epochs takes hardly more rows than with two."""
    with_epochs = (
        select(func.min(_EVENT.seq).label("first"), func.max(_EVENT.seq).label("last"))
        .where(_EVENT.job_id == job_id, _EVENT.type == EventType.PROGRESS, _has("epochs"))
        .group_by(_EVENT.attempt)
        .cte("with_epochs")
    )
    ends = select(with_epochs.c.first).union_all(select(with_epochs.c.last))
    needed = or_(_EVENT.type != EventType.PROGRESS, _has("phases"), _EVENT.seq.in_(ends))
    ranges = select(_EPOCH.attempt, func.min(_EPOCH.epoch), func.max(_EPOCH.epoch))
    of_attempts = (
        ranges.where(_EPOCH.job_id == job_id, IS_COMPLETE).group_by(_EPOCH.attempt).order_by(_EPOCH.attempt)
    )
    # before the events: those of an epoch that is recorded meanwhile may be there already, but not be missing
    recorded = session.execute(of_attempts).all()
    rows = session.scalars(select(_EVENT).where(_EVENT.job_id == job_id, needed).order_by(_EVENT.seq))
    events = [schemas.JobEvent.model_validate(row) for row in rows]
    progress = [event for event in events if event.type is EventType.PROGRESS]
    finished: dict[int, list[datetime]] = defaultdict(list)
    for event in progress:
        finished[event.attempt] += (datetime.fromisoformat(epoch["at"]) for epoch in event.data["epochs"])
    return Timeline(
        events=[event for event in events if event.type is not EventType.PROGRESS],
        phases=[
            EnteredPhase(event.attempt, entered["phase"], datetime.fromisoformat(entered["at"]))
            for event in progress
            for entered in event.data["phases"]
        ],
        epochs=[
            RecordedEpochs(attempt, first, last, finished[attempt][0], finished[attempt][-1])
            for attempt, first, last in recorded
        ],
    )


def _has(name: str) -> ColumnElement[bool]:
    """SQL for whether a list of an event's data has items."""
    has_items: ColumnElement[bool] = _EVENT.data[name].as_string() != "[]"
    return has_items


def epoch_seconds(session: Session, job_id: UUID) -> Sequence[float]:
    """Return the wall time of each recorded epoch of a job, in order."""
    recorded = select(_EPOCH.seconds).where(_EPOCH.job_id == job_id, IS_COMPLETE)
    return session.scalars(recorded.order_by(_EPOCH.epoch)).all()
