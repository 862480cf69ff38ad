"""Dispatch: waking up workers for jobs that wait. The database, not the message, says which job is next."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared import log
from shared.broker import BrokerUnavailable
from shared.db.clock import Now, database_now
from shared.store import places

_log = log.get_logger(__name__)


class Waker(Protocol):
    """Wakes workers up: the broker, or a fake."""

    def wake(self, jobs: Mapping[str, int]) -> None:
        """Wake workers up for this many jobs of each queue; raises BrokerUnavailable."""


def wake(waker: Waker, jobs: Mapping[str, int]) -> bool:
    """Wake workers up for this many jobs of each queue, and return whether that was possible.

    If it was not, the jobs wait until workers that have free slots look for jobs by themselves.
    """
    try:
        waker.wake(jobs)
    except BrokerUnavailable as error:
        _log.warning("no worker woken up", queues=sorted(jobs), jobs=sum(jobs.values()), reason=str(error))
        return False
    return True


def due(session: Session, queues: Sequence[str], *, limit: int, now: Now = database_now) -> dict[str, int]:
    """Return how many jobs can start now, at most `limit`, of each of these queues that has any."""
    counts = {}
    for queue in queues:
        first = places.due(queue, now=now).limit(limit).subquery()
        counts[queue] = session.scalar(select(func.count()).select_from(first)) or 0
    return {queue: count for queue, count in counts.items() if count}
