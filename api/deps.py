"""What routes ask for: the services, and the headers and path parts that several of them read."""

from functools import partial
from typing import Annotated
from uuid import UUID

import anyio
from fastapi import Depends, Header, Path, Query, Request
from pydantic import AfterValidator

from api.jobs.watching import JobWatcher
from api.services import Services
from shared.schemas import ModelReference
from shared.store import events
from shared.store.events import Cursor, Tail


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _changes(request: Request) -> JobWatcher:
    changes: JobWatcher = request.app.state.changes
    return changes


ServicesDep = Annotated[Services, Depends(_services)]
WatcherDep = Annotated[JobWatcher, Depends(_changes)]

JobId = Annotated[UUID, Path(description="The job's id, as POST /v1/jobs answered it.")]
ModelId = Annotated[
    ModelReference,
    Path(description="The model's id, which a finished training job names as `model_id`, or its alias."),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text that no other request has, such as a UUID. Sent again with the same request, "
        "it answers the first one's job instead of making another.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="An ETag of the job's: 412 if the job has changed since."),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="An ETag that was answered before: 304 if it holds."),
]

UNSETTLED_S = 0.02  # between two looks while a writer has not ended

_LAST_SEQ = 2**31 - 1

Seq = Annotated[int, Query(ge=0, le=_LAST_SEQ, description="Only events with a greater `seq`.")]


def _is_cursor(written: str) -> str:
    Cursor.parse(written)
    return written


_AS_CURSOR = AfterValidator(_is_cursor)
_DOCUMENTED = {"pattern": events.CURSOR_PATTERN}


async def _existing_job(changes: WatcherDep, job_id: JobId) -> UUID:
    await changes.read(partial(events.job_state, job_id=job_id))
    return job_id


async def _after(
    after: Seq = 0,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_LAST_SEQ)] = None,
) -> int:
    # the newer one: a browser that connects again sends the header beside the address that it was given
    return after if last_event_id is None else last_event_id


async def _tail(
    services: ServicesDep,
    changes: WatcherDep,
    after: Annotated[
        str | None,
        _AS_CURSOR,
        Query(
            description="The id of an event of this stream, or 0 for the first.",
            json_schema_extra=_DOCUMENTED,
        ),
    ] = None,
    last_event_id: Annotated[
        str | None, _AS_CURSOR, Header(alias="Last-Event-ID", json_schema_extra=_DOCUMENTED)
    ] = None,
) -> Tail:
    given = last_event_id or after
    tail = Tail(services.database, Cursor.parse(given) if given else None)
    while tail.cursor is None:  # it is fixed before the answer begins: who lists jobs then misses nothing
        await changes.call(partial(tail.read, 1))
        await anyio.sleep(0 if tail.cursor else UNSETTLED_S)
    return tail


ExistingJobId = Annotated[UUID, Depends(_existing_job)]
AfterDep = Annotated[int, Depends(_after)]
TailDep = Annotated[Tail, Depends(_tail)]
