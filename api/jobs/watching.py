"""Wakes the requests of this process that wait for a job to change; they hold neither thread nor connection.

Redis tells which jobs have changed, at once. It may be away, or lose what was told, so one query from time to
time looks for all that is waited for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from redis import asyncio as redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared import log
from shared.db.engine import Database
from shared.db.tables import Job
from shared.settings import Settings
from shared.store import change_feed, events

T = TypeVar("T")

_LOOK_S = 1.0  # between two looks at the table while Redis tells what changes
_LOOK_ALONE_S = 0.25  # and while it does not
_CONNECT_S = 1.0  # for a connection to Redis, and between two tries
_SILENCE_S = 5.0  # after it Redis is asked whether it is still there
_THREADS = 8  # reads at once; the endpoints that are no coroutines have threads of their own
_MOST_IDS = 500  # in one query

_log = log.get_logger(__name__)


class Watch:
    """One waiter.

    Attributes:
        seen: the version of the job that the waiter knows, or the newest position if it waits for any job's
            event; to be kept up to date by the waiter.
    """

    def __init__(self) -> None:
        self.seen: int | None = None
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Say that something may have changed."""
        self._event.set()

    async def changed(self, timeout_s: float | None = None) -> bool:
        """Wait until something may have changed since the last time; False if it took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class JobWatcher:
    """The waiters of this process, and the one subscriber and the one query that wake them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        """Prepare to listen; to be used in one event loop."""
        self._database = database
        self._url = settings.effective_redis_url
        self._watches: dict[UUID | None, set[Watch]] = {}
        self._hears = False
        self._limiter = CapacityLimiter(_THREADS)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Wake waiters until the end of the block."""
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._look())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def watch(self, job_id: UUID | None) -> Iterator[Watch]:
        """Wait for changes of a job, or for any job's event. What changes from here on wakes the waiter."""
        watch = Watch()
        self._watches.setdefault(job_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[job_id].remove(watch)
            if not self._watches[job_id]:
                del self._watches[job_id]

    async def read(self, work: Callable[[Session], T]) -> T:
        """What `work` reads from the database, in a thread that is only then needed."""
        return await self.call(partial(self._database.read, work))

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` gives, in such a thread."""
        return await to_thread.run_sync(work, limiter=self._limiter)

    def _wake(self, job_ids: Collection[UUID | None]) -> None:
        for job_id in job_ids:
            for watch in self._watches.get(job_id, ()):
                watch.wake()

    async def _listen(self) -> None:
        client = redis.Redis.from_url(self._url, socket_connect_timeout=_CONNECT_S, retry=None)
        async with client:
            while True:
                with suppress(RedisError, OSError):
                    async with client.pubsub() as pubsub:
                        await pubsub.subscribe(change_feed.CHANNEL)
                        await self._hear(pubsub)
                if self._hears:
                    _log.warning("Redis is away: changes of jobs are noticed by looking at the table")
                self._hears = False
                await asyncio.sleep(_CONNECT_S)

    async def _hear(self, pubsub: PubSub) -> None:
        """Wake who waits for what Redis tells, until it is silent."""
        asked = False
        while (message := await pubsub.get_message(timeout=_SILENCE_S)) or not asked:
            asked = message is None
            if message is None:
                await pubsub.ping()
            elif message["type"] == "subscribe":
                self._hears = True
                self._wake(list(self._watches))  # for what was told before
            elif message["type"] == "message":
                with suppress(ValueError):
                    self._wake([*change_feed.parse_message(message["data"]), None])

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S if self._hears else _LOOK_ALONE_S)
            ids = [job_id for job_id in self._watches if job_id is not None]
            for start in range(0, len(ids), _MOST_IDS):
                await self._compare(partial(_versions, ids=ids[start : start + _MOST_IDS]))
            if None in self._watches:
                await self._compare(lambda session: {None: events.newest_position(session)})

    async def _compare(self, look: Callable[[Session], dict[UUID | None, int | None]]) -> None:
        # while the database is away nobody could read what changed
        with suppress(SQLAlchemyError):
            for job_id, version in (await self.read(look)).items():
                for watch in self._watches.get(job_id, ()):
                    if watch.seen != version:
                        watch.wake()


def _versions(session: Session, ids: list[UUID]) -> dict[UUID | None, int | None]:
    """The version of each job; None of those that are gone."""
    found = session.execute(select(Job.id, Job.version).where(Job.id.in_(ids)))
    return {**dict.fromkeys(ids), **{row.id: row.version for row in found}}
