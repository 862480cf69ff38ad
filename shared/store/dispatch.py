"""Dispatch of jobs: hints to workers that a job can be claimed, and the record of which were sent."""

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from shared import log
from shared.broker import BrokerUnavailable, Hint
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import Job
from shared.lifecycle import JobState
from shared.store.queues import admits, paused_queues

_log = log.get_logger(__name__)


class Sender(Protocol):
    """Sends hints to the workers: the broker, or a fake."""

    def send(self, hint: Hint) -> None:
        """Send a hint; raises BrokerUnavailable."""


def send(database: Database, sender: Sender, hints: Sequence[Hint]) -> bool:
    """Send hints in order, and return whether all were sent.

    If the broker is unavailable, the rest are logged and marked as not dispatched. If this process dies
    before the last one, the reconciler finds the rest unclaimed. It sends either again.
    """
    for sent, hint in enumerate(hints):
        try:
            sender.send(hint)
        except BrokerUnavailable as error:
            unsent = [hint.job_id for hint in hints[sent:]]
            database.write(partial(mark_undispatched, job_ids=unsent))
            _log.warning(
                "jobs wait for the broker", jobs=len(unsent), job_id=str(unsent[0]), reason=str(error)
            )
            return False
    return True


def hand_back_hint(session: Session, job_id: UUID, worker: str) -> None:
    """Mark a queued job for dispatch again whose hint met a draining worker or a paused queue.

    If neither is so any more, the reconcilers will notice that the broker holds fewer hints than expected.
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
    """Mark due jobs as dispatched and return a hint for each, oldest first, for the caller to send.

    Jobs of paused queues are left out.

    Args:
        lost_after_s: include jobs that were dispatched longer ago than this and are still unclaimed; None if
            the broker is known to hold their hints.
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
        # repeated, because another reconciler may have taken them since the SELECT
        .where(Job.id.in_(due.scalar_subquery()), Job.state == JobState.QUEUED, unsent)
        .values(dispatched_at=now())
        .returning(Job.id, Job.queue, Job.priority)
    )
    # RETURNING has no order; ids sort by creation time
    return [Hint(row.id, row.queue, row.priority) for row in sorted(taken, key=attrgetter("id"))]


def mark_undispatched(session: Session, job_ids: Sequence[UUID]) -> None:
    """Record that the hints of these jobs were not sent, so that the reconciler sends them."""
    session.execute(
        update(Job).where(Job.id.in_(job_ids), Job.state == JobState.QUEUED).values(dispatched_at=None)
    )


def count_dispatched(session: Session, queues: Sequence[str]) -> int:
    """Return how many queued jobs should have a hint at the broker."""
    dispatched = select(func.count()).where(
        Job.state == JobState.QUEUED, Job.queue.in_(queues), Job.dispatched_at.is_not(None)
    )
    return session.scalar(dispatched) or 0
