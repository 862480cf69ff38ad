"""Logs of jobs: lines that attempts append while they run, read page by page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, func, insert, select, tuple_
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import Attempt, Base, Job, JobLog
from shared.lifecycle import AttemptOutcome
from shared.schemas import LogLevel
from shared.store.transitions import AttemptId

MAX_LINES = 2_000  # kept lines of one job; the worker's own log has the rest

_JOB_LOGS = Base.metadata.tables[JobLog.__tablename__]
_FULL = f"a job keeps {MAX_LINES:,} lines: what follows is in the worker's own log"

_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
LineKey = tuple[_Count, _Count]
"""The sort key of a line: its attempt, and its number in that attempt."""


@dataclass(frozen=True)
class Line:
    """A line of an attempt's log.

    Attributes:
        number: the line's number in its attempt, from 1.
        at: the time by the worker's clock.
    """

    number: int
    at: datetime
    level: LogLevel
    message: str
    fields: dict[str, Any]


def append(session: Session, lines: Mapping[AttemptId, Sequence[Line]]) -> None:
    """Store lines of attempts, except those stored already. Lines of deleted jobs are dropped.

    The write is not fenced: a stale attempt may still log why it ended, which changes nothing else.
    """
    job_ids = {attempt.job_id for attempt in lines}
    # locked, so that no job is deleted before its lines are inserted
    existing = select(Job.id).where(Job.id.in_(job_ids)).with_for_update(read=True, key_share=True)
    last, stored = _stored(session, set(session.scalars(existing)))
    rows: list[dict[str, Any]] = []
    for attempt, of_attempt in lines.items():
        if attempt.job_id not in stored:
            continue
        new = [line for line in of_attempt if line.number > last[attempt]]
        kept = _limited(new, MAX_LINES - stored[attempt.job_id])
        stored[attempt.job_id] += len(kept)
        rows += (_row(attempt, line) for line in kept)
    if rows:
        session.execute(insert(_JOB_LOGS), rows)


def _row(attempt: AttemptId, line: Line) -> dict[str, Any]:
    return {"job_id": attempt.job_id, "attempt": attempt.number, **asdict(line)}


def append_last(
    session: Session, attempt: AttemptId, level: LogLevel, message: str, *, now: Now = database_now
) -> None:
    """Append a line to the log of an attempt that can no longer write its own, even if the log is full."""
    numbers = select(func.max(JobLog.number)).where(
        JobLog.job_id == attempt.job_id, JobLog.attempt == attempt.number
    )
    number = (session.scalar(numbers) or 0) + 1
    at = session.execute(select(now())).scalar_one()
    line = Line(number=number, at=at, level=level, message=message, fields={})
    session.execute(insert(_JOB_LOGS), [_row(attempt, line)])


def append_if_lost(session: Session, attempt: AttemptId, message: str, *, now: Now = database_now) -> None:
    """Append a line to the log of an attempt, as `append_last` does, if the attempt was lost."""
    outcome = select(Attempt.outcome).where(
        Attempt.job_id == attempt.job_id, Attempt.number == attempt.number
    )
    if session.scalar(outcome) == AttemptOutcome.LOST:
        append_last(session, attempt, LogLevel.ERROR, message, now=now)


def _stored(session: Session, job_ids: AbstractSet[UUID]) -> tuple[Counter[AttemptId], Counter[UUID]]:
    """Return the number of each attempt's last stored line, and the count of stored lines of each job."""
    by_attempt = (
        select(JobLog.job_id, JobLog.attempt, func.max(JobLog.number), func.count())
        .where(JobLog.job_id.in_(job_ids))
        .group_by(JobLog.job_id, JobLog.attempt)
    )
    last: Counter[AttemptId] = Counter()
    stored = Counter(dict.fromkeys(job_ids, 0))
    for job_id, attempt, number, count in session.execute(by_attempt):
        last[AttemptId(job_id, attempt)] = number
        stored[job_id] += count
    return last, stored


def _limited(lines: Sequence[Line], room: int) -> list[Line]:
    """Return the lines that fit into a job's log; a notice replaces the line that makes the log full."""
    kept = list(lines[: max(0, room)])
    if kept and len(kept) == room:
        kept[-1] = replace(kept[-1], level=LogLevel.WARNING, message=_FULL, fields={})
    return kept


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
        after: the key of the last line of the previous page.
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
