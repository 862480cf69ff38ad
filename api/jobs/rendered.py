"""A cache of rendered responses about jobs, valid while the jobs do not change.

A cached response is dropped when its job is announced as changed (`api.jobs.watching`). In any case, after
`JobWatcher.check_s` its version is compared with the job's before it is used again.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import TypeVar
from uuid import UUID

from api.jobs.versions import JobVersions
from api.jobs.watching import JobWatcher

T = TypeVar("T")

MAX_BYTES = 64 * 2**20
"""The memory of all cached responses of a process; one that needs more than a sixteenth is not cached."""

# bounds the age of data that changes without an event and without an announcement
_MAX_AGE_S = 60.0
_MAX_JOINS = 3  # the most renderings by other requests that a request waits for
_OVERHEAD_BYTES = 1_000  # the memory of an entry besides its body


@dataclass(frozen=True)
class Source:
    """The job, its version and its lease at the time when a response was rendered.

    Attributes:
        is_lasting: whether the response is valid as long as the job has this version and its lease this end.
            A queued job's response is not, because it has the job's position in the queue.
        lease_ends_at: None if the job has no lease.
    """

    job_id: UUID
    version: int
    is_lasting: bool
    lease_ends_at: datetime | None = None


@dataclass(eq=False)
class Rendered:
    """A successful response about a job.

    Attributes:
        headers: the HTTP headers, names in lower case.
        route: the route that rendered it.
        began_at: the time when the rendering began, before the job was read; by the monotonic clock.
        fresh_until: the time after which the job's version has to be checked again; by the same clock.
    """

    source: Source
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    route: object
    began_at: float = field(default=0.0, init=False)
    fresh_until: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.etag = dict(self.headers).get(b"etag")
        self.size = len(self.body) + _OVERHEAD_BYTES

    @property
    def may_be_checked(self) -> bool:
        """Whether the response is still valid if the job has the same version and lease."""
        return self.source.is_lasting and not self.is_expired

    @property
    def is_expired(self) -> bool:
        """Whether the response has to be rendered again, whatever the job's version is."""
        return monotonic() >= self.began_at + _MAX_AGE_S


class _Rendering:
    """The rendering of a response by one request, during which other requests wait.

    Attributes:
        is_outdated: whether the job was announced as changed meanwhile, perhaps after it was read.
        is_useful: whether the waiting requests should look for a cached response again.
    """

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.is_outdated = False
        self.is_useful = False


class RenderedResponses:
    """The cache of responses by request target, which drops expired and least recently used ones.

    For one event loop.
    """

    def __init__(self, watcher: JobWatcher, *, max_bytes: int = MAX_BYTES) -> None:
        self._watcher = watcher
        self._versions = JobVersions(watcher)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, Rendered] = OrderedDict()
        self._targets: defaultdict[UUID, set[bytes]] = defaultdict(set)  # cached targets by job
        self._renderings: dict[bytes, _Rendering] = {}
        self._renderings_of: defaultdict[UUID, set[_Rendering]] = defaultdict(set)
        self._queue_changes = 0
        watcher.listen(self.forget)

    def fresh(self, target: bytes) -> Rendered | None:
        """Return the cached response to a target, or None if there is none that needs no check."""
        rendered = self._kept.get(target)
        if rendered is None or monotonic() >= rendered.fresh_until:
            return None
        self._kept.move_to_end(target)
        return rendered

    async def checked(self, target: bytes) -> Rendered | None:
        """Return the cached response to a target, after a check or another request's rendering if needed.

        Returns:
            The response, or None if the caller has to render it.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        for _ in range(_MAX_JOINS):
            kept, rendering = self._kept.get(target), self._renderings.get(target)
            if kept is not None and kept.may_be_checked and await self._is_unchanged(target, kept):
                return kept
            if rendering is None:
                break
            await rendering.done.wait()
            if not rendering.is_useful:
                break
            if (rendered := self.fresh(target)) is not None:
                return rendered
        return self.fresh(target)

    @contextmanager
    def rendering(self, target: bytes, job_id: UUID) -> Iterator[Callable[[Rendered], None]]:
        """Make other requests wait while the caller renders the response; yield a function that caches it."""
        rendering = self._renderings[target] = _Rendering()
        self._renderings_of[job_id].add(rendering)
        began_at, queue_changes = monotonic(), self._queue_changes

        def keep(rendered: Rendered) -> None:
            rendering.is_useful, rendered.began_at = True, began_at
            is_queue_changed = not rendered.source.is_lasting and queue_changes != self._queue_changes
            if not rendering.is_outdated and not is_queue_changed:
                self._keep(target, rendered)

        try:
            yield keep
        finally:
            if self._renderings.get(target) is rendering:
                del self._renderings[target]
            _discard(self._renderings_of, job_id, rendering)
            rendering.done.set()

    def forget(self, job_ids: Collection[UUID]) -> None:
        """Drop the responses about these jobs."""
        for job_id in job_ids:
            for rendering in self._renderings_of.get(job_id, ()):
                rendering.is_outdated = True
            for target in tuple(self._targets.get(job_id, ())):
                self._drop(target)

    def forget_queued(self) -> None:
        """Drop the responses about queued jobs, since this process has changed a queue."""
        self._queue_changes += 1
        for target in [target for target, kept in self._kept.items() if not kept.source.is_lasting]:
            self._drop(target)

    async def _is_unchanged(self, target: bytes, kept: Rendered) -> bool:
        began_at = monotonic()
        mark = await self._versions.newest(kept.source.job_id)
        if self._kept.get(target) is not kept:
            return False
        if mark != (kept.source.version, kept.source.lease_ends_at):
            self._drop(target)
            return False
        kept.fresh_until = began_at + self._watcher.check_s
        self._kept.move_to_end(target)
        return True

    def _keep(self, target: bytes, rendered: Rendered) -> None:
        if rendered.size > self._max_bytes // 16:
            return
        if target in self._kept:
            self._drop(target)
        rendered.fresh_until = rendered.began_at + self._watcher.check_s
        self._kept[target] = rendered
        self._targets[rendered.source.job_id].add(target)
        self._bytes += rendered.size
        while self._kept and (self._bytes > self._max_bytes or self._least_recent().is_expired):
            self._drop(next(iter(self._kept)))

    def _least_recent(self) -> Rendered:
        return next(iter(self._kept.values()))

    def _drop(self, target: bytes) -> None:
        rendered = self._kept.pop(target)
        self._bytes -= rendered.size
        _discard(self._targets, rendered.source.job_id, target)


def _discard(sets: dict[UUID, set[T]], job_id: UUID, element: T) -> None:
    """Remove an element from a job's set, and the set if it is then empty."""
    sets[job_id].remove(element)
    if not sets[job_id]:
        del sets[job_id]
