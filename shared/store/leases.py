"""Leases of a worker's attempts: renewed together, and read together with the requests to stop attempts.

Jobs are found by their primary keys, and count only while they run under the named attempt.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, literal, select, tuple_, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import Base, Job, Worker
from shared.lifecycle import JobState, WorkerState
from shared.store.preemption import URGENT_ID
from shared.store.transitions import AttemptId

_JOBS = Base.metadata.tables[Job.__tablename__]


@dataclass(frozen=True)
class Standing:
    """The requests to a running attempt.

    Attributes:
        cancel_requested: whether a user has cancelled the job.
        urgent_id: the urgent job that preempts the attempt; None if none does.
    """

    cancel_requested: bool = False
    urgent_id: UUID | None = None


@dataclass(frozen=True)
class Look:
    """The requests to a worker and to its attempts.

    Attributes:
        standings: the requests to the attempts that still run; any other attempt has ended, or was taken from
            the worker.
        drains: whether an operator has drained the worker.
    """

    standings: dict[AttemptId, Standing]
    drains: bool


def renew(
    session: Session, attempts: Collection[AttemptId], *, lease_s: float, now: Now = database_now
) -> set[AttemptId]:
    """Extend the leases of attempts to `lease_s` seconds from now; return those whose leases were extended.

    A job that another transaction has locked is skipped: the process of that transaction may be stopped, and
    the other attempts must not wait for it.
    """
    of_attempts = (
        select(_JOBS.c.id)
        .where(_JOBS.c.id.in_([attempt.job_id for attempt in attempts]))
        .where(tuple_(_JOBS.c.id, _JOBS.c.attempt).in_([(each.job_id, each.number) for each in attempts]))
        .where(_JOBS.c.state == JobState.RUNNING)
        .order_by(_JOBS.c.id)
        .with_for_update(key_share=True, skip_locked=True)
    )
    renewed = (
        update(_JOBS)
        .where(_JOBS.c.id.in_(of_attempts))
        .values(lease_expires_at=now(lease_s))
        .returning(_JOBS.c.id, _JOBS.c.attempt)
    )
    return {AttemptId(row.id, row.attempt) for row in session.execute(renewed)}


def look(session: Session, attempts: Collection[AttemptId], worker: str) -> Look:
    """Return the requests to attempts, and to the worker of this name, by a single SELECT."""
    own_row = select(literal(1).label("one")).subquery()
    columns: Select[Any] = select(Worker.state.label("worker_state")).select_from(own_row)
    columns = columns.outerjoin(Worker, Worker.id == worker)
    if attempts:
        is_asked = and_(Job.id.in_([attempt.job_id for attempt in attempts]), Job.state == JobState.RUNNING)
        columns = columns.outerjoin(Job, is_asked).add_columns(
            Job.id, Job.attempt, Job.cancel_requested_at, URGENT_ID.label("urgent_id")
        )
    rows = session.execute(columns).all()
    found = {AttemptId(row.id, row.attempt): row for row in rows if attempts and row.id is not None}
    standings = {
        attempt: _standing(found[attempt].cancel_requested_at, found[attempt].urgent_id)
        for attempt in attempts
        if attempt in found
    }
    return Look(standings, any(row.worker_state == WorkerState.DRAINING for row in rows))


def _standing(cancel_requested_at: datetime | None, urgent_id: UUID | None) -> Standing:
    return Standing(cancel_requested_at is not None, urgent_id)
