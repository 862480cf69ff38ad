"""What a job's attempts logged: page by page, or as one text."""

import json
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy.orm import Session

from api.deps import JobId, ServicesDep
from api.http.problems import documented
from shared.db import tables
from shared.errors import JobNotFound
from shared.schemas import JobLogLine, JobLogPage, LogLevel
from shared.store import job_logs, job_queries

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_TEXT = {"text/plain": {"schema": {"type": "string"}}}


@router.get(
    "/{job_id:uuid}/logs",
    response_model=JobLogPage,
    responses={
        **documented(JobNotFound),
        200: {"description": "A page, or the whole as text", "content": _TEXT},
    },
)
def get_logs(
    services: ServicesDep,
    job_id: JobId,
    level: Annotated[LogLevel, Query(description="The least important level.")] = LogLevel.DEBUG,
    q: Annotated[
        str, Query(max_length=200, pattern=r"^[^\x00]*$", description="What a message must have.")
    ] = "",
    after: Annotated[
        str, Query(pattern=r"^\d{1,9}\.\d{1,9}$", description="`next_cursor` of the page before.")
    ] = "0.0",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> JobLogPage | Response:
    """A job's log, oldest line first; ask again with `after` to follow it.

    With `Accept: text/plain` it is a download of all its lines.
    """
    attempt, _, number = after.partition(".")
    as_text = "text/plain" in accept

    def read(session: Session) -> list[JobLogLine]:
        job_queries.get(session, job_id)
        found = job_logs.lines(
            session,
            job_id,
            limit=job_logs.MAX_LINES if as_text else limit + 1,
            after=(int(attempt), int(number)),
            level=level,
            text=q,
        )
        return [_describe(row) for row in found]

    found = services.database.read(read)
    if as_text:
        headers = {"Content-Disposition": f'attachment; filename="job-{job_id}.log"'}
        return Response("".join(map(_as_text, found)), media_type="text/plain", headers=headers)
    page = tuple(found[:limit])
    return JobLogPage(data=page, next_cursor=page[-1].cursor if page else after, has_more=len(found) > limit)


def _describe(row: tables.JobLog) -> JobLogLine:
    return JobLogLine(
        cursor=f"{row.attempt}.{row.number}",
        attempt=row.attempt,
        at=row.at,
        level=LogLevel(row.level),
        message=row.message,
        fields=row.fields,
    )


def _as_text(line: JobLogLine) -> str:
    fields = "".join(f" {name}={json.dumps(value)}" for name, value in line.fields.items())
    return f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ} {line.level.upper():8} {line.attempt} {line.message}{fields}\n"
