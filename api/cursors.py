"""What is settled before a stream begins, while the answer can be a problem: which job, and after what."""

from functools import partial
from typing import Annotated
from uuid import UUID

import anyio
from fastapi import Depends, Header, Query
from pydantic import AfterValidator

from api.deps import ChangesDep, JobId, ServicesDep
from shared import events
from shared.events import Cursor, Tail

UNSETTLED_S = 0.02  # between two looks while a writer has not ended

_LAST_SEQ = 2**31 - 1

Seq = Annotated[int, Query(ge=0, le=_LAST_SEQ, description="Only events with a greater `seq`.")]


def _is_cursor(written: str) -> str:
    Cursor.parse(written)
    return written


_AS_CURSOR = AfterValidator(_is_cursor)
_DOCUMENTED = {"pattern": events.CURSOR_PATTERN}


async def _existing_job(changes: ChangesDep, job_id: JobId) -> UUID:
    await changes.read(partial(events.state, job_id=job_id))
    return job_id


async def _after(
    after: Seq = 0,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_LAST_SEQ)] = None,
) -> int:
    # the newer one: a browser that connects again sends the header beside the address that it was given
    return after if last_event_id is None else last_event_id


async def _tail(
    services: ServicesDep,
    changes: ChangesDep,
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
