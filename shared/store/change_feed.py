"""The change feed: the ids of changed jobs, announced after each commit.

Listeners within the process are called before the write returns; other processes receive a message on a Redis
channel. The first word of a message is the publisher's id, so that a process can ignore its own messages,
whose changes its listeners already know. Messages may be lost, so subscribers also poll the table.
"""

import threading
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from uuid import UUID, uuid4

from redis import Redis
from sqlalchemy.orm import Session

from shared.settings import Settings
from shared.store.event_log import changed_jobs

CHANNEL = "trainshed:changed"

_TIMEOUT_S = 0.5  # for a connection to Redis, and for each command
_PAUSE_AFTER_FAILURE_S = 2.0  # time without messages after a failure of Redis
_CLOSE_TIMEOUT_S = 1.0
_MAX_IDS_PER_MESSAGE = 500


class ChangePublisher:
    """A publisher of changed jobs: to the listeners of this process, and to Redis from a background thread.

    A call never fails and takes microseconds whatever the state of Redis, because `Database` makes one after
    each commit.

    Attributes:
        id: the publisher's id, the first word of its messages.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare to publish; the first change starts the thread and opens the connection."""
        self.id = uuid4()
        self._redis: Redis = Redis.from_url(
            settings.effective_redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        self._queue: SimpleQueue[frozenset[UUID] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._paused_until = 0.0
        self._listeners: list[Callable[[frozenset[UUID]], None]] = []

    def listen(self, listener: Callable[[frozenset[UUID]], None]) -> None:
        """Have `listener` called with the ids of changed jobs, in the writer's thread, before the write ends.

        The listener must neither fail nor block.
        """
        self._listeners.append(listener)

    def __call__(self, session: Session) -> None:
        """Announce the jobs that a committed session has changed or deleted."""
        if job_ids := changed_jobs(session):
            for listener in self._listeners:
                listener(job_ids)
            self._queue.put(job_ids)
            if self._thread is None:
                self._start()

    def close(self) -> None:
        """Publish the queued changes, for at most a second, and end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_CLOSE_TIMEOUT_S)
        self._redis.close()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="change publisher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._queue.get(), *self._queued()]
            is_open = None not in batch
            ids = sorted({job_id for job_ids in batch for job_id in job_ids or ()})
            for start in range(0, len(ids), _MAX_IDS_PER_MESSAGE):
                self._publish(ids[start : start + _MAX_IDS_PER_MESSAGE])

    def _queued(self) -> Iterable[frozenset[UUID] | None]:
        try:
            while True:
                yield self._queue.get_nowait()
        except Empty:
            return

    def _publish(self, ids: list[UUID]) -> None:
        if time.monotonic() < self._paused_until:
            return
        try:
            self._redis.publish(CHANNEL, " ".join(map(str, (self.id, *ids))))
        except Exception:
            # any exception of the client: none must end the thread
            self._paused_until = time.monotonic() + _PAUSE_AFTER_FAILURE_S


def parse_message(message: bytes) -> frozenset[UUID]:
    """Return the job ids in a published message.

    Raises:
        ValueError: the message is malformed.
    """
    _publisher, *job_ids = map(UUID, message.decode("ascii").split())
    return frozenset(job_ids)
