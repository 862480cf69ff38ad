"""The course of a job: its events in order, with the recorded epochs of each attempt as one entry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.lifecycle import EventType


@dataclass(frozen=True)
class RecordedEpochs:
    """The epochs that an attempt has recorded, without a gap.

    Attributes:
        first, last: from 0.
        since, until: when the first and the last of them were recorded.
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
        events: all but those that record epochs, oldest first.
        epochs: of the attempts that have recorded any, in their order.
    """

    events: list[schemas.JobEvent]
    epochs: list[RecordedEpochs]


def read(session: Session, job_id: UUID) -> Timeline:
    """Return a job's course; that of a job with a thousand epochs takes no more rows than with one."""
    event, epoch = tables.JobEvent, tables.Epoch
    others = select(event).where(event.job_id == job_id, event.type != EventType.EPOCHS_RECORDED)
    moments = (
        select(event.attempt, func.min(event.at).label("since"), func.max(event.at).label("until"))
        .where(event.job_id == job_id, event.type == EventType.EPOCHS_RECORDED)
        .group_by(event.attempt)
        .subquery()
    )
    epochs = (
        select(epoch.attempt, func.min(epoch.epoch), func.max(epoch.epoch), moments.c.since, moments.c.until)
        .join(moments, moments.c.attempt == epoch.attempt)
        .where(epoch.job_id == job_id)
        .group_by(epoch.attempt, moments.c.since, moments.c.until)
        .order_by(epoch.attempt)
    )
    return Timeline(
        events=[schemas.JobEvent.model_validate(row) for row in session.scalars(others.order_by(event.seq))],
        epochs=[RecordedEpochs(*row) for row in session.execute(epochs)],
    )


def epoch_seconds(session: Session, job_id: UUID) -> Sequence[float]:
    """Return the wall time of each recorded epoch of a job, in order."""
    epoch = tables.Epoch
    return session.scalars(select(epoch.seconds).where(epoch.job_id == job_id).order_by(epoch.epoch)).all()
