"""Logs of jobs: lines that attempts append while they run, read page by page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, and_, func, insert, select, tuple_
from sqlalchemy.orm import Session

from shared.db.tables import Job, JobLog
from shared.schemas import LogLevel
from shared.store.transitions import AttemptId

MAX_LINES = 2_000  # of one job; the worker's own log has the rest

_FULL = f"a job keeps {MAX_LINES:,} lines: what follows is in the worker's own log"

_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
LineKey = tuple[_Count, _Count]
"""The sort key of a line: its attempt, and its number in that attempt."""


@dataclass(frozen=True)
class Line:
    """A line of an attempt's log.

    Attributes:
        number: from 1 in each attempt.
        at: the time by the worker's clock.
    """

    number: int
    at: datetime
    level: LogLevel
    message: str
    fields: dict[str, Any]


def append(session: Session, attempt: AttemptId, lines: Sequence[Line]) -> None:
    """Store lines of an attempt, except those stored already. Lines of a deleted job are dropped.

    There is no fence: a stale attempt changes nothing else by it, and may still log why it ended.
    """
    if session.scalar(select(Job.id).where(Job.id == attempt.job_id)) is None:
        return
    of_attempt = and_(JobLog.job_id == attempt.job_id, JobLog.attempt == attempt.number)
    last = session.scalar(select(func.max(JobLog.number)).where(of_attempt)) or 0
    stored = session.scalars(select(func.count()).where(JobLog.job_id == attempt.job_id)).one()
    new = [line for line in lines if line.number > last][: max(0, MAX_LINES - stored)]
    if not new:
        return
    if stored + len(new) == MAX_LINES:
        new[-1] = replace(new[-1], level=LogLevel.WARNING, message=_FULL, fields={})
    rows = [{"job_id": attempt.job_id, "attempt": attempt.number, **asdict(line)} for line in new]
    session.execute(insert(JobLog), rows)


def lines(
    session: Session,
    job_id: UUID,
    *,
    after: LineKey = (0, 0),
    limit: int,
    level: LogLevel = LogLevel.DEBUG,
    text: str = "",
) -> Sequence[JobLog]:
    """Return up to `limit` lines of a job, oldest first.

    Args:
        after: the key of the last line of the page before.
        level: only lines of this severity or a greater one.
        text: only lines whose message contains it, ignoring case.
    """
    levels = list(LogLevel)
    conditions: list[ColumnElement[bool]] = [
        JobLog.job_id == job_id,
        tuple_(JobLog.attempt, JobLog.number) > after,
        JobLog.level.in_(levels[levels.index(level) :]),
    ]
    if text:
        conditions.append(JobLog.message.icontains(text, autoescape=True))
    rows = select(JobLog).where(*conditions).order_by(JobLog.attempt, JobLog.number).limit(limit)
    return session.scalars(rows).all()
