"""Events: pages of a job's events, and streams (server-sent events) of a job's or all jobs' events."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from uuid import UUID

import anyio
from fastapi import APIRouter
from fastapi.sse import format_sse_event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.deps import (
    POLL_UNSETTLED_S,
    AfterSeq,
    EventPagesDep,
    ExistingJobId,
    FeedStartDep,
    JobId,
    ResumeAfterDep,
    WatcherDep,
)
from api.http.auth import READ
from api.http.event_stream import PING, PING_S, EventStream, documented_stream
from api.http.open_streams import Admission, AdmissionDep
from api.http.paging import Cursors, LongPageDep
from api.http.problems import documented
from api.jobs.event_pages import EventPages
from api.jobs.watching import JobWatcher
from shared.db.floor import VersionOutdated
from shared.errors import InvalidCursor, JobNotFound
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import JobEvent, Page, StreamEnd, StreamReset
from shared.store import events
from shared.store.events import Cursor

router = APIRouter(prefix="/v1", tags=["events"], dependencies=[READ])

_CURSORS = Cursors("events of a job", tuple[AfterSeq])
_RECONNECT_MS = 1_000  # the delay after which a browser connects again
_MAX_EVENTS_PER_READ = 200
# ends a stream that the client should resume; `event: end` would mean that no more events follow
_STOPPING = format_sse_event(comment="the API is stopping: connect again", retry=_RECONNECT_MS)
_NOT_ADMITTED = format_sse_event(
    comment="the key of this stream was revoked or has expired", retry=_RECONNECT_MS
)
# these errors end a stream; the response to the client's next connection explains the reason
_DATABASE_ERRORS = (DBAPIError, PoolTimeout, VersionOutdated)


@router.get("/jobs/{job_id:id}/events", responses=documented(JobNotFound, InvalidCursor))
async def list_events(
    watcher: WatcherDep, job_id: JobId, query: LongPageDep, after: AfterSeq = 0
) -> Page[JobEvent]:
    """List a job's events, oldest first. Every page, even the last, has a `next_cursor` to follow the job.

    `after` starts after the event with this `seq`; `cursor` takes precedence.
    """
    start = _CURSORS.parse(query.cursor) or (after,)
    page = await watcher.read(partial(events.page, job_id=job_id, after=start[0], limit=query.limit + 1))
    return _CURSORS.page([((event.seq,), event) for event in page.events], query.limit, start=start)


@router.get(
    "/jobs/{job_id:id}/stream",
    status_code=200,
    response_class=EventStream,
    responses={
        **documented(JobNotFound),
        **documented_stream(
            "event: progress",
            'data: {"job_id":"0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f","seq":3,"at":"2026-01-02T03:04:05Z",'
            '"type":"progress","attempt":1,'
            '"data":{"phases":[{"phase":"training","at":"2026-01-02T03:04:05Z"}],"epochs":[]}}',
            "id: 3",
        ),
    },
)
async def stream_job(
    watcher: WatcherDep,
    pages: EventPagesDep,
    admission: AdmissionDep,
    job_id: ExistingJobId,
    after: ResumeAfterDep,
) -> EventStream:
    """Stream a job's events as they happen, from the first one, or after `Last-Event-ID` or `after`.

    An event's name is its type, and its id is its `seq`. Within an epoch, `event: steps`, which has no id,
    gives the number of the epoch's steps that have been recorded so far. When the job has finished,
    `event: end` follows: close a browser's `EventSource` then, or it connects again. Resume a stream that
    ends without `event: end`.

    If the stream is resumed after an event that the job does not have, the database was restored from an
    earlier backup: `event: reset` follows, and then the job's events from the first one.
    """
    return EventStream(_of_job(watcher, pages, admission, job_id, after))


@router.get(
    "/stream",
    status_code=200,
    response_class=EventStream,
    responses={
        **documented(),
        **documented_stream(
            "event: submitted",
            'data: {"job_id":"0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f","seq":1,"at":"2026-01-02T03:04:05Z",'
            '"type":"submitted","attempt":0,"data":{}}',
            "id: 1767323045000000-0198f0a27d3e7c559a5e3f2b1c0d4e5f-1",
        ),
    },
)
async def stream_all(
    watcher: WatcherDep, pages: EventPagesDep, admission: AdmissionDep, after: FeedStartDep
) -> EventStream:
    """Stream all jobs' events as they happen, from now on, or after `Last-Event-ID` or `after`.

    Each event comes once, and a job's events come in order. To miss no event, connect first and then list the
    jobs.
    """
    return EventStream(_of_all(watcher, pages, admission, after))


async def _of_job(
    watcher: JobWatcher, pages: EventPages, admission: Admission, job_id: UUID, after: int
) -> AsyncGenerator[bytes]:
    steps = b""
    yield format_sse_event(retry=_RECONNECT_MS)
    with (
        suppress(*_DATABASE_ERRORS),
        watcher.watch(job_id, after) as watch,
        admission.checked(watch.wake),
    ):
        while not (watcher.is_stopping or admission.is_over):
            try:
                page = await pages.after(job_id, after, _MAX_EVENTS_PER_READ)
            except JobNotFound:
                yield _ended(None)
                return
            if after > page.version:
                reset = StreamReset(version=page.version).model_dump_json()
                yield format_sse_event(event="reset", id="0", data_str=reset)
                watch.seen = after = 0
                continue
            if page.frames:
                yield page.frames
            watch.seen = after = page.end
            if page.is_last and page.steps not in (b"", steps):
                yield (steps := page.steps)
            if page.is_last and page.state in TERMINAL:
                yield _ended(page.state)
                return
            if page.is_last:
                while not await watch.changed(PING_S):
                    yield PING
        yield _NOT_ADMITTED if admission.is_over else _STOPPING


async def _of_all(
    watcher: JobWatcher, pages: EventPages, admission: Admission, after: Cursor
) -> AsyncGenerator[bytes]:
    yield format_sse_event(id=str(after), retry=_RECONNECT_MS)
    with (
        suppress(*_DATABASE_ERRORS),
        watcher.watch(None, after.position) as watch,
        admission.checked(watch.wake),
    ):
        while not (watcher.is_stopping or admission.is_over):
            page = await pages.after_place(after, _MAX_EVENTS_PER_READ)
            if page.frames:
                yield page.frames
            after = page.end
            watch.seen = after.position
            if page.is_pending:
                await anyio.sleep(POLL_UNSETTLED_S)
            elif page.is_last:
                while not await watch.changed(PING_S):
                    yield PING
        yield _NOT_ADMITTED if admission.is_over else _STOPPING


def _ended(state: JobState | None) -> bytes:
    return format_sse_event(event="end", data_str=StreamEnd(state=state).model_dump_json())
