"""What happens to jobs, as it happens: events in pages, and as server-sent events."""

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.deps import UNSETTLED_S, AfterDep, ExistingJobId, JobId, Seq, TailDep, WatcherDep
from api.http.problems import documented
from shared.errors import JobNotFound
from shared.lifecycle import TERMINAL, EventType
from shared.schemas import EventPage, JobEvent, StreamEnd
from shared.store import events

router = APIRouter(prefix="/v1", tags=["events"])

_RECONNECT_MS = 1_000
_BATCH = 200
_GATHER_S = 0.05  # events of all jobs are read together that come so soon after another
_DATABASE_AWAY = (DBAPIError, PoolTimeout)  # ends a stream: who connects again is told why


def _example(*lines: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"text/event-stream": {"example": "\n".join(lines) + "\n\n"}}}}


@router.get("/jobs/{job_id:uuid}/events", responses=documented(JobNotFound))
async def list_events(
    changes: WatcherDep,
    job_id: JobId,
    after: Seq = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> EventPage:
    """What has happened to a job, oldest first. The last `seq` of a page is `after` of the next one."""
    found = await changes.read(partial(events.page, job_id=job_id, after=after, limit=limit + 1))
    return EventPage(data=tuple(found[:limit]), has_more=len(found) > limit)


@router.get(
    "/jobs/{job_id:uuid}/stream",
    response_class=EventSourceResponse,
    responses={
        **documented(JobNotFound),
        **_example(
            "event: phase_entered",
            'data: {"job_id":"0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f","seq":3,"at":"2026-01-02T03:04:05Z",'
            '"type":"phase_entered","attempt":1,"data":{"phase":"training"}}',
            "id: 3",
        ),
    },
)
async def stream_job(
    changes: WatcherDep, job_id: ExistingJobId, seen: AfterDep
) -> AsyncIterator[ServerSentEvent]:
    """A job's events from the first one on, or after `Last-Event-ID` or `after`, as they happen.

    Each is named by its type, and its id is its `seq`. When the job is over `event: end` follows: a browser's
    EventSource must be closed then, or it connects again.
    """
    yield ServerSentEvent(retry=_RECONNECT_MS)
    with suppress(*_DATABASE_AWAY), changes.watch(job_id) as watch:
        while True:
            try:
                found, state = await changes.read(
                    partial(events.page_and_state, job_id=job_id, after=seen, limit=_BATCH)
                )
            except JobNotFound:
                yield ServerSentEvent(event="end", data=StreamEnd(state=None))
                return
            for event in found:
                yield ServerSentEvent(event=event.type, id=str(event.seq), data=event)
                watch.seen = seen = event.seq
            if not found and state in TERMINAL:
                yield ServerSentEvent(event="end", data=StreamEnd(state=state))
                return
            if not found:
                await watch.changed()


@router.get(
    "/stream",
    response_class=EventSourceResponse,
    responses={
        **documented(),
        **_example(
            "event: submitted",
            'data: {"job_id":"0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f","seq":1,"at":"2026-01-02T03:04:05Z",'
            '"type":"submitted","attempt":0,"data":{}}',
            "id: 1767323045000000-0198f0a27d3e7c559a5e3f2b1c0d4e5f-1",
        ),
    },
)
async def stream_all(changes: WatcherDep, tail: TailDep) -> AsyncIterator[ServerSentEvent]:
    """All jobs' events from now on, or after `Last-Event-ID` or `after`; epochs come without their batches.

    Each event comes once, and a job's events in their order. Connect first, and list the jobs then: nothing
    lies between.
    """
    yield ServerSentEvent(id=str(tail.cursor), retry=_RECONNECT_MS)
    with suppress(*_DATABASE_AWAY), changes.watch(None) as watch:
        while True:
            found = await changes.call(partial(tail.read, _BATCH))
            for cursor, event in found:
                yield ServerSentEvent(event=event.type, id=str(cursor), data=_brief(event))
            watch.seen = tail.cursor.position if tail.cursor else None
            if tail.pending:
                await anyio.sleep(UNSETTLED_S)
            elif len(found) < _BATCH:
                await watch.changed()
                await anyio.sleep(_GATHER_S)


def _brief(event: JobEvent) -> JobEvent:
    if event.type != EventType.EPOCHS_RECORDED:
        return event
    epochs = [
        {name: value for name, value in epoch.items() if not name.startswith("batch_")}
        for epoch in event.data["epochs"]
    ]
    return event.model_copy(update={"data": {**event.data, "epochs": epochs}})
