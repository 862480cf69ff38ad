"""The newest events of jobs, read and rendered once for all streams that wait for the same ones."""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from api.jobs.watching import JobWatcher
from shared.lifecycle import JobState
from shared.store import events


@dataclass(frozen=True)
class RenderedEvent:
    """An event as a stream sends it."""

    seq: int
    type: str
    json: str


@dataclass(frozen=True)
class EventPage:
    """Events of a job, in order, and the state that the job had when they were read.

    Attributes:
        is_last: whether the job had no further event then.
    """

    events: tuple[RenderedEvent, ...]
    state: JobState
    is_last: bool


class EventPages:
    """Reads pages of jobs' events. A read that has begun is shared, until its job is announced as changed."""

    def __init__(self, watcher: JobWatcher) -> None:
        """Prepare to read in the watcher's event loop."""
        self._watcher = watcher
        self._reads: defaultdict[UUID, dict[tuple[int, int], asyncio.Task[EventPage]]] = defaultdict(dict)
        watcher.listen(self._forget)

    async def after(self, job_id: UUID, seq: int, limit: int) -> EventPage:
        """Return up to `limit` of a job's events after the one with this number.

        Raises:
            JobNotFound: there is no such job.
            SQLAlchemyError: the database is unavailable.
        """
        key, of_job = (seq, limit), self._reads[job_id]
        task = of_job.get(key)
        if task is None:
            read = partial(_read, job_id=job_id, after=seq, limit=limit)
            task = of_job[key] = asyncio.create_task(self._watcher.read(read))
            task.add_done_callback(partial(self._done, job_id, key))
        # shielded, because a stream whose client leaves must not end the read of the others
        return await asyncio.shield(task)

    def _done(self, job_id: UUID, key: tuple[int, int], task: asyncio.Task[EventPage]) -> None:
        if not task.cancelled():
            task.exception()  # seen, whether or not a stream still waits for it
        of_job = self._reads.get(job_id)
        if of_job is not None and of_job.get(key) is task:
            del of_job[key]
            if not of_job:
                del self._reads[job_id]

    def _forget(self, job_ids: Collection[UUID]) -> None:
        """Share no read of these jobs that began before their change."""
        for job_id in job_ids:
            self._reads.pop(job_id, None)


def _read(session: Session, job_id: UUID, after: int, limit: int) -> EventPage:
    page, state = events.page(session, job_id, after=after, limit=limit)
    rendered = tuple(RenderedEvent(event.seq, event.type, event.model_dump_json()) for event in page)
    return EventPage(rendered, state, is_last=len(page) < limit)
