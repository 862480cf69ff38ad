"""The present marks of jobs (version and end of lease), read by one query for all concurrent requests."""

import asyncio
from functools import partial
from uuid import UUID

from api.jobs.watching import JobWatcher
from shared.store import job_queries
from shared.store.job_queries import Mark


class JobVersions:
    """The reader of jobs' marks, which runs one query at a time. For one event loop."""

    def __init__(self, watcher: JobWatcher) -> None:
        self._watcher = watcher
        self._turn = asyncio.Lock()
        self._job_ids: set[UUID] = set()
        self._next: asyncio.Task[dict[UUID, Mark]] | None = None

    async def newest(self, job_id: UUID) -> Mark:
        """Return the mark of a job, read after this call. Its version is None if the job does not exist.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        self._job_ids.add(job_id)
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        # a request that is cancelled must not cancel the query for the others
        return (await asyncio.shield(self._next))[job_id]

    async def _read(self) -> dict[UUID, Mark]:
        async with self._turn:  # calls during a query share the next one
            job_ids, self._job_ids, self._next = self._job_ids, set(), None
            return await self._watcher.read(partial(job_queries.marks, job_ids=job_ids))
