"""Sends hints for jobs that are marked as dispatched, and takes the mark back where that fails."""

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from shared.broker import BrokerUnavailable, Hint
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import Job
from shared.lifecycle import JobState
from shared.store.queues import admits, paused_queues


class Sender(Protocol):
    """What hands hints to the workers: the broker, or a fake."""

    def send(self, hint: Hint) -> None:
        """Hand a job's id to the workers; raises BrokerUnavailable."""


def send(database: Database, sender: Sender, hints: Sequence[Hint]) -> BrokerUnavailable | None:
    """Send every hint, in order.

    If this process dies before it is done, the reconciler finds the rest unclaimed and sends them again.

    Returns:
        why the rest could not be sent; None if all were. Those not sent are marked so.
    """
    for done, hint in enumerate(hints):
        try:
            sender.send(hint)
        except BrokerUnavailable as error:
            unsent = [hint.job_id for hint in hints[done:]]
            database.write(partial(mark_undispatched, job_ids=unsent))
            return error
    return None


def hand_back_hint(session: Session, job_id: UUID, worker: str) -> None:
    """Have a job sent again whose hint was used up by a claim that was not admitted.

    If that changed since the claim, the reconcilers notice that the broker holds fewer hints than it should.
    """
    session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.QUEUED, ~admits(worker))
        .values(dispatched_at=None)
        .execution_options(synchronize_session=False)
    )


def take_undispatched(
    session: Session,
    queues: Sequence[str],
    *,
    lost_after_s: float | None,
    limit: int = 1_000,
    now: Now = database_now,
) -> list[Hint]:
    """Mark due jobs as dispatched and return a hint for each, the oldest first: the caller sends them.

    Those of paused queues are left.

    Args:
        lost_after_s: take also jobs that were dispatched so many seconds ago and are still unclaimed; None
            where the broker is known to hold their messages.
    """
    unsent: ColumnElement[bool] = Job.dispatched_at.is_(None)
    if lost_after_s is not None:
        unsent = or_(unsent, Job.dispatched_at < now(-lost_after_s))
    due = (
        select(Job.id)
        .where(
            Job.state == JobState.QUEUED,
            Job.queue.in_(queues),
            ~paused_queues(),
            Job.scheduled_at <= now(),
            unsent,
        )
        .order_by(Job.created_at)
        .limit(limit)
    )
    taken = session.execute(
        update(Job)
        # said again: since the SELECT another reconciler may have taken them
        .where(Job.id.in_(due.scalar_subquery()), Job.state == JobState.QUEUED, unsent)
        .values(dispatched_at=now())
        .returning(Job.id, Job.queue, Job.priority)
    )
    # RETURNING keeps no order; ids sort by the time of their making
    return [Hint(row.id, row.queue, row.priority) for row in sorted(taken, key=attrgetter("id"))]


def mark_undispatched(session: Session, job_ids: Sequence[UUID]) -> None:
    """Say that sending these jobs failed, so that they are sent again."""
    session.execute(
        update(Job).where(Job.id.in_(job_ids), Job.state == JobState.QUEUED).values(dispatched_at=None)
    )


def count_dispatched(session: Session, queues: Sequence[str]) -> int:
    """How many queued jobs should have a message at the broker."""
    dispatched = select(func.count()).where(
        Job.state == JobState.QUEUED, Job.queue.in_(queues), Job.dispatched_at.is_not(None)
    )
    return session.scalar(dispatched) or 0
