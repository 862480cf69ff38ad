"""The newest events of jobs, read and rendered once for all streams that wait for the same events."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from api.jobs.watching import JobWatcher
from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.schemas import JobEvent
from shared.store import events
from shared.store.events import Cursor, Feed

T = TypeVar("T")


@dataclass(frozen=True)
class EventPage:
    """Events of a job, in order, and the state and version that the job had when they were read.

    Attributes:
        frames: the events as frames of a stream, the same for all clients.
        steps: the progress of the present epoch as a frame of a stream; empty before its first steps.
        end: the number of the last event or, without events, the requested number.
        is_last: whether the job had no further event at that time.
    """

    frames: bytes
    steps: bytes
    end: int
    state: JobState
    version: int
    is_last: bool


@dataclass(frozen=True)
class FeedPage:
    """Events of all jobs, in order.

    Attributes:
        frames: the events as frames of a stream, the same for all clients.
        end: the place of the last event or, without events, the requested place.
        is_last: whether there was no further event at that time.
        is_pending: whether there may be events that could not be read yet.
    """

    frames: bytes
    end: Cursor
    is_last: bool
    is_pending: bool


class EventPages:
    """The reader of event pages. Streams share a running read until a job in it is announced as changed."""

    def __init__(self, watcher: JobWatcher, database: Database) -> None:
        """Prepare to read in the watcher's event loop."""
        self._watcher = watcher
        self._database = database
        self._feed = Feed(database)
        # running reads by job, or by None for reads of all jobs
        self._reads: defaultdict[UUID | None, dict[Hashable, asyncio.Task[Any]]] = defaultdict(dict)
        watcher.listen(self._forget)

    async def after(self, job_id: UUID, seq: int, limit: int) -> EventPage:
        """Return up to `limit` of a job's events after the one with this number.

        Raises:
            JobNotFound: there is no such job.
            SQLAlchemyError: the database is unavailable.
        """
        work = partial(_read_job, job_id=job_id, after=seq, limit=limit)
        return await self._shared(job_id, (seq, limit), partial(self._database.read, work))

    async def after_place(self, place: Cursor, limit: int) -> FeedPage:
        """Return up to `limit` events of all jobs after a place.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        return await self._shared(None, (place, limit), partial(_read_feed, self._feed, place, limit))

    async def _shared(self, of: UUID | None, key: Hashable, read: Callable[[], T]) -> T:
        task: asyncio.Task[T] | None = self._reads[of].get(key)
        if task is None:
            task = self._reads[of][key] = asyncio.create_task(self._watcher.run(read))
            task.add_done_callback(partial(self._done, of, key))
        # shielded, because a stream whose client disconnects must not cancel the read for the others
        return await asyncio.shield(task)

    def _done(self, of: UUID | None, key: Hashable, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # marks it as retrieved, for a read whose streams have all ended
        reads = self._reads.get(of)
        if reads is not None and reads.get(key) is task:
            del reads[key]
            if not reads:
                del self._reads[of]

    def _forget(self, job_ids: Collection[UUID]) -> None:
        """Stop sharing the reads of these jobs that began before their change."""
        for of in (*job_ids, None):
            self._reads.pop(of, None)


def _read_job(session: Session, job_id: UUID, after: int, limit: int) -> EventPage:
    page = events.page(session, job_id, after=after, limit=limit)
    frames = b"".join(_frame(str(event.seq), event) for event in page.events)
    end = page.events[-1].seq if page.events else after
    begun = events.steps_so_far(session, job_id) if page.state is JobState.RUNNING else None
    steps = f"event: steps\ndata: {begun.model_dump_json()}\n\n".encode() if begun else b""
    return EventPage(frames, steps, end, page.state, page.version, is_last=len(page.events) < limit)


def _read_feed(feed: Feed, after: Cursor, limit: int) -> FeedPage:
    page = feed.read(after, limit)
    frames = b"".join(_frame(str(place), event) for place, event in page)
    return FeedPage(frames, page[-1][0] if page else after, len(page) < limit, feed.pending)


def _frame(id_: str, event: JobEvent) -> bytes:
    """Return an event as a frame of server-sent events; JSON has no line breaks."""
    return f"event: {event.type}\ndata: {event.model_dump_json()}\nid: {id_}\n\n".encode()
