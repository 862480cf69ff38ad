"""Tells whoever waits for a job's change that it has happened: a hint over Redis, after the commit.

Hints may be lost. Who waits looks at the table from time to time as well.
"""

import threading
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from uuid import UUID

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from shared.settings import Settings
from shared.store.transitions import changed_jobs

CHANNEL = "trainshed:changed"

_PATIENCE_S = 0.5
_SILENCE_S = 2.0  # for so long after a failure nothing is sent
_FLUSH_S = 1.0
_MOST_IDS = 500  # in one message


class ChangePublisher:
    """Publishes the ids of changed jobs from a thread of its own.

    A call costs its caller some microseconds, whatever Redis does, and never fails: `Database` may be given
    it to call after each commit.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare; neither the thread nor the connection is made before the first change."""
        self._redis: Redis = Redis.from_url(
            settings.effective_redis_url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S
        )
        self._changed: SimpleQueue[frozenset[UUID] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._silent_until = 0.0

    def __call__(self, session: Session) -> None:
        """Announce the jobs that a committed session has changed."""
        if changed := changed_jobs(session):
            self._changed.put(changed)
            if self._thread is None:
                self._start()

    def close(self) -> None:
        """Announce what is left, as far as that takes no more than a second, and end the thread."""
        if self._thread is not None:
            self._changed.put(None)
            self._thread.join(_FLUSH_S)
        self._redis.close()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="announcer", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        going_on = True
        while going_on:
            found = [self._changed.get(), *self._waiting()]
            going_on = None not in found
            ids = sorted({job_id for changed in found for job_id in changed or ()})
            for start in range(0, len(ids), _MOST_IDS):
                self._publish(ids[start : start + _MOST_IDS])

    def _waiting(self) -> Iterable[frozenset[UUID] | None]:
        try:
            while True:
                yield self._changed.get_nowait()
        except Empty:
            return

    def _publish(self, ids: list[UUID]) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            self._redis.publish(CHANNEL, " ".join(map(str, ids)))
        except (RedisError, OSError):
            self._silent_until = time.monotonic() + _SILENCE_S


def parse_message(message: bytes) -> frozenset[UUID]:
    """The ids of a published message.

    Raises:
        ValueError: it was not ours.
    """
    return frozenset(UUID(word) for word in message.decode("ascii").split())
