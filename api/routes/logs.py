"""The log of a job: in pages, or as one text."""

import json
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy.orm import Session

from api.deps import JobId, ServicesDep
from api.http.auth import READ
from api.http.paging import Cursors, LongPageDep
from api.http.problems import documented
from shared.db import tables
from shared.errors import InvalidCursor, JobNotFound
from shared.schemas import JobLogLine, LogLevel, Page
from shared.store import job_logs, job_queries
from shared.texts import STORABLE

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[READ])

_CURSORS = Cursors("log lines of a job", job_logs.LineKey)
_TEXT = {"text/plain": {"schema": {"type": "string"}}}


@router.get(
    "/{job_id:id}/logs",
    response_model=Page[JobLogLine],
    responses={
        **documented(JobNotFound, InvalidCursor),
        200: {"description": "A page, or the whole log as text", "content": _TEXT},
    },
)
def get_logs(
    services: ServicesDep,
    job_id: JobId,
    query: LongPageDep,
    level: Annotated[LogLevel, Query(description="The lowest level to include.")] = LogLevel.DEBUG,
    q: Annotated[
        str, Query(max_length=200, pattern=STORABLE, description="A part of the message, in any case.")
    ] = "",
    after: Annotated[
        str | None, Query(description="The `cursor` of a line: return only later lines.")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Page[JobLogLine] | Response:
    """Get a job's log, oldest line first. Every page, even the last, has a `next_cursor` to follow the log.

    `cursor` takes precedence over `after`. With `Accept: text/plain`, the response is a download of all
    matching lines.
    """
    start = _CURSORS.parse(after if query.cursor is None else query.cursor) or (0, 0)
    as_text = "text/plain" in accept

    def read(session: Session) -> Sequence[tables.JobLog]:
        job_queries.state(session, job_id)  # raises JobNotFound
        limit = job_logs.MAX_LINES if as_text else query.limit + 1
        return job_logs.lines(session, job_id, after=start, limit=limit, level=level, text=q)

    lines = [((row.attempt, row.number), to_schema(row)) for row in services.database.read(read)]
    if as_text:
        headers = {"Content-Disposition": f'attachment; filename="job-{job_id}.log"'}
        text = "".join(_to_text(line) for _, line in lines)
        return Response(text, media_type="text/plain", headers=headers)
    return _CURSORS.page(lines, query.limit, start=start)


def to_schema(row: tables.JobLog) -> JobLogLine:
    """Return a stored line as the API's schema."""
    return JobLogLine(
        cursor=cursor_after((row.attempt, row.number)),
        attempt=row.attempt,
        at=row.at,
        level=LogLevel(row.level),
        message=row.message,
        fields=row.fields,
    )


def cursor_after(key: job_logs.LineKey) -> str:
    """Return the cursor that continues after a line."""
    return _CURSORS.format(key)


def _to_text(line: JobLogLine) -> str:
    fields = "".join(f" {name}={json.dumps(value)}" for name, value in line.fields.items())
    return f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ} {line.level.upper():8} {line.attempt} {line.message}{fields}\n"
