"""Dispatch: wake-up messages to workers. The database, not the message, determines which job is next."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared import log
from shared.broker import BrokerUnavailable
from shared.db.clock import Now, database_now
from shared.store import limits, places

MAX_WOKEN = 100
"""The most processes to wake up when a queue's jobs may start again; each runs all jobs that it can."""

_CLOSE_TIMEOUT_S = 2.0

_log = log.get_logger(__name__)


class Waker(Protocol):
    """The means of waking workers up: the broker, or a fake."""

    def wake(self, jobs: Mapping[str, int]) -> None:
        """Wake workers up for this many jobs of each queue.

        Raises:
            BrokerUnavailable: the broker cannot be reached, or refuses the message.
        """


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


class WakeUps:
    """A thread that wakes workers up, so that no caller waits for the broker.

    Jobs that are added while the broker is busy are combined into one call.
    """

    def __init__(self, waker: Waker) -> None:
        """Start the thread."""
        self._waker = waker
        self._added: SimpleQueue[Mapping[str, int] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="wake-ups", daemon=True)
        self._thread.start()

    def add(self, jobs: Mapping[str, int]) -> None:
        """Queue a wake-up for this many jobs of each queue; takes microseconds and never fails."""
        self._added.put(jobs)

    def close(self) -> None:
        """Send the queued wake-ups, for at most 2 s, and end the thread."""
        self._added.put(None)
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._added.get(), *self._added_meanwhile()]
            is_open = None not in batch
            jobs: Counter[str] = Counter()
            for added in batch:
                jobs.update(added or {})
            try:
                if jobs:
                    wake(self._waker, jobs)
            except Exception:  # without this thread no worker would be woken up any more
                _log.exception("no worker woken up")

    def _added_meanwhile(self) -> Iterator[Mapping[str, int] | None]:
        try:
            while True:
                yield self._added.get_nowait()
        except Empty:
            return


def due(session: Session, queues: Sequence[str], *, limit: int, now: Now = database_now) -> dict[str, int]:
    """Return how many jobs of each queue can start now, at most `limit`; queues without any are left out."""
    counts = {queue: _count_due(session, queue, limit, now) for queue in queues}
    return {queue: count for queue, count in counts.items() if count}


def _count_due(session: Session, queue: str, limit: int, now: Now) -> int:
    first = places.due(queue, now=now).where(~limits.ARE_SET).limit(limit).subquery()
    without_limits = session.scalar(select(func.count()).select_from(first))
    return without_limits or limits.count_due(session, queue, limit=limit, now=now)
