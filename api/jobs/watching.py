"""Notification of changes of jobs, for which a request waits without a thread or a database connection.

This process announces its own changes at once; Redis announces those of other processes
(`shared.store.change_feed`). Because Redis may be unavailable and messages may be lost, one query for all
waiting requests polls the database as well.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from redis import asyncio as redis
from redis.asyncio.client import PubSub
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.background import running_tasks
from shared import log
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import change_feed, events, job_queries

T = TypeVar("T")

_CHECK_S = 1.0  # seconds between two polls of the database while Redis announces changes
_CHECK_WITHOUT_REDIS_S = 0.25
_CONNECT_TIMEOUT_S = 1.0  # for a connection to Redis
_RECONNECT_INTERVAL_S = 1.0
_PING_AFTER_S = 5.0  # seconds without a message before a ping, which detects a dead connection
_COLLECT_S = 0.05  # changes within this time wake the requests that watch all jobs only once
_COLLECT_EACH_S = 0.0005  # or within this time for each such request: serving them takes a fifth of it
_MAX_CONCURRENT_READS = 8  # in threads besides those of routes that are not coroutines
_MAX_IDS_PER_QUERY = 500

_log = log.get_logger(__name__)


class Watch:
    """A request's wait for changes of one job, or of any job.

    Attributes:
        seen: the newest version of the job that the request has read or was woken for; if it waits for any
            job, the newest position of an event. None until the first read: a poll does not wake the request.
        renewed: the end of the job's lease at the last poll; each write of steps moves it, without an event.
    """

    def __init__(self, seen: int | None) -> None:
        self.seen = seen
        self.renewed: datetime | None = None
        self._event = asyncio.Event()

    def is_outdated(self, version: int | None, renewed: datetime | None) -> bool:
        """Return whether there may be changes that the request has not seen, such as steps before a poll."""
        return self.seen is not None and (self.seen, self.renewed) != (version, renewed)

    def wake(self) -> None:
        """Wake the request."""
        self._event.set()

    async def changed(self, timeout_s: float | None = None) -> bool:
        """Wait until something may have changed since the last call; return False after the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class JobWatcher:
    """The announcer of jobs' changes in this process, with one subscription and one poll for all requests.

    Attributes:
        is_stopping: whether the process has been asked to stop, so that no request may wait any longer.
    """

    def __init__(self, database: Database, settings: Settings, own: UUID | None = None) -> None:
        """Prepare to run in one event loop.

        Args:
            own: the id of the publisher whose changes are passed to `announce`; its messages are ignored.
        """
        self._database = database
        self._url = settings.effective_redis_url
        self._own = str(own).encode()
        self._watches: dict[UUID | None, set[Watch]] = {}
        self._listeners: list[Callable[[Collection[UUID]], None]] = []
        self.is_stopping = False
        self._is_subscribed = False
        self._is_collecting = False
        self._limiter = CapacityLimiter(_MAX_CONCURRENT_READS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Wake waiting requests until the end of the block."""
        self._loop = asyncio.get_running_loop()
        async with running_tasks(self._subscribe(), self._poll()):
            yield

    def stop(self) -> None:
        """Wake every waiting request, since the process has been asked to stop."""
        self.is_stopping = True
        self._wake(list(self._watches))

    @contextmanager
    def watch(self, job_id: UUID | None, seen: int | None = None) -> Iterator[Watch]:
        """Watch a job, or all jobs: changes from now on, and those newer than `seen`, wake the request.

        Args:
            job_id: None for all jobs.
            seen: the job's version, or the position among all events, that the request knows.
        """
        watch = Watch(seen)
        self._watches.setdefault(job_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[job_id].remove(watch)
            if not self._watches[job_id]:
                del self._watches[job_id]

    @property
    def check_s(self) -> float:
        """Seconds after which data that was read has to be compared with the database again."""
        return _CHECK_S if self._is_subscribed else _CHECK_WITHOUT_REDIS_S

    def listen(self, listener: Callable[[Collection[UUID]], None]) -> None:
        """Call `listener`, in the event loop, with the ids of all jobs that are announced as changed."""
        self._listeners.append(listener)

    def announce(self, job_ids: Collection[UUID]) -> None:
        """Announce changes that another thread of this process has committed.

        Anything that the thread passes to the event loop afterwards, such as the response to its request,
        arrives there after the announcement.
        """
        with suppress(RuntimeError):  # the event loop is closed, so no request waits
            self._loop.call_soon_threadsafe(self._announce, job_ids)

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a read transaction, in one of the watcher's few threads."""
        return await self.run(partial(self._database.read, work))

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in one of the watcher's few threads."""
        return await to_thread.run_sync(work, limiter=self._limiter)

    def _announce(self, job_ids: Collection[UUID]) -> None:
        for listener in self._listeners:
            listener(job_ids)
        self._wake(job_ids)
        if None in self._watches and not self._is_collecting:
            self._is_collecting = True
            wait_s = max(_COLLECT_S, _COLLECT_EACH_S * len(self._watches[None]))
            self._loop.call_later(wait_s, self._collected)

    def _collected(self) -> None:
        self._is_collecting = False
        self._wake([None])

    def _wake(self, job_ids: Collection[UUID | None]) -> None:
        for job_id in job_ids:
            for watch in self._watches.get(job_id, ()):
                watch.wake()

    async def _subscribe(self) -> None:
        client = redis.Redis.from_url(self._url, socket_connect_timeout=_CONNECT_TIMEOUT_S, retry=None)
        task = asyncio.current_task()
        async with client:
            # an error that the client raises as it closes a connection may replace the task's cancellation
            while task is not None and not task.cancelling():
                with suppress(Exception):  # the client may raise any error, and none may end the task
                    async with client.pubsub() as pubsub:
                        await pubsub.subscribe(change_feed.CHANNEL)
                        await self._receive(pubsub)
                if self._is_subscribed:
                    _log.warning("Redis is unavailable: changes of jobs are noticed by polling the database")
                self._is_subscribed = False
                await asyncio.sleep(_RECONNECT_INTERVAL_S)

    async def _receive(self, pubsub: PubSub) -> None:
        """Wake the requests that wait for announced jobs, until Redis no longer responds to a ping."""
        has_pinged = False
        while (message := await pubsub.get_message(timeout=_PING_AFTER_S)) or not has_pinged:
            has_pinged = message is None
            if message is None:
                await pubsub.ping()
            elif message["type"] == "subscribe":
                self._is_subscribed = True
                self._wake(list(self._watches))  # earlier announcements were missed
            elif message["type"] == "message" and not message["data"].startswith(self._own):
                with suppress(ValueError):
                    self._announce(change_feed.parse_message(message["data"]))

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self.check_s)
            ids = [job_id for job_id in self._watches if job_id is not None]
            for start in range(0, len(ids), _MAX_IDS_PER_QUERY):
                part = ids[start : start + _MAX_IDS_PER_QUERY]
                await self._wake_outdated(partial(job_queries.marks, job_ids=part))
            if None in self._watches:
                await self._wake_outdated(lambda session: {None: (events.newest_position(session), None)})

    async def _wake_outdated(
        self, read: Callable[[Session], Mapping[Any, tuple[int | None, datetime | None]]]
    ) -> None:
        # while the database is unavailable, a request could not read the changes either
        with suppress(SQLAlchemyError):
            for job_id, (version, renewed) in (await self.read(read)).items():
                watches = self._watches.get(job_id, ())
                outdated = [watch for watch in watches if watch.is_outdated(version, renewed)]
                for watch in watches:
                    watch.renewed = renewed
                for watch in outdated:
                    watch.seen = version
                if outdated:
                    self._announce([] if job_id is None else [job_id])
