"""The tab `logs` of a job's page: the lines of its attempts, filtered."""

from functools import partial
from typing import Any

from starlette.datastructures import QueryParams

from api.routes.logs import cursor_after, to_schema
from api.services import Services
from shared.schemas import JobDetail, LogLevel
from shared.store import job_logs

_SHOWN = 500
_LONGEST_SEARCH = 200


def read(services: Services, job: JobDetail, query: QueryParams) -> dict[str, Any]:
    """Return the template's variables.

    Args:
        query: the page's query: `attempt`, `level` (the lowest), `q` (a part of the message), `all`.
    """
    level, number = query.get("level", ""), query.get("attempt", "")
    attempt = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0
    lowest = LogLevel(level) if level in set(LogLevel) else LogLevel.DEBUG
    text = query.get("q", "")[:_LONGEST_SEARCH].replace("\0", "")
    facts = {"filters": {"attempt": attempt, "level": lowest, "q": text}, "levels": list(LogLevel)}
    if "part" in query:
        return facts
    start = (max(0, attempt - 1), 2**31 - 1) if attempt else (0, 0)
    of_job = partial(job_logs.lines, job_id=job.id, level=lowest, text=text)
    rows = services.database.read(partial(of_job, after=start, limit=job_logs.MAX_LINES))
    lines = [row for row in rows if not attempt or row.attempt == attempt]
    return {
        **facts,
        "lines": [to_schema(row) for row in (lines if "all" in query else lines[-_SHOWN:])],
        "total": len(lines),
        "after": cursor_after((lines[-1].attempt, lines[-1].number) if lines else start),
    }
