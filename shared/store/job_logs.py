"""What attempts log, kept with the job: appended in groups while they run, read page by page."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, insert, select, tuple_
from sqlalchemy.orm import Session

from shared.db.tables import Job, JobLog
from shared.schemas import LogLevel
from shared.store.transitions import AttemptId

MAX_LINES = 2_000  # of one job; a job that logs more has its last lines in the worker's own log only

_FULL = f"a job keeps {MAX_LINES:,} lines: what follows is in the worker's own log"


@dataclass(frozen=True)
class Line:
    """One line of an attempt's log.

    Attributes:
        number: counts the attempt's lines from 1.
        at: when it was logged, by the worker's clock.
    """

    number: int
    at: datetime
    level: LogLevel
    message: str
    fields: dict[str, Any]


def append(session: Session, attempt: AttemptId, lines: Sequence[Line]) -> None:
    """Store lines of an attempt, in order; those that are stored already are passed over.

    It changes nothing else, so it needs no fence: an attempt that is over may still say why.
    Lines of a job that was deleted go nowhere.
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
    limit: int,
    after: tuple[int, int] = (0, 0),
    level: LogLevel = LogLevel.DEBUG,
    text: str = "",
) -> Sequence[JobLog]:
    """A job's lines, oldest first.

    Args:
        limit: how many at most.
        after: only lines after this one of this attempt.
        level: the least important level.
        text: only lines whose message has it, in either case.
    """
    wanted: list[ColumnElement[bool]] = [
        JobLog.job_id == job_id,
        tuple_(JobLog.attempt, JobLog.number) > after,
        JobLog.level.in_([one for one in LogLevel if _rank(one) >= _rank(level)]),
    ]
    if text:
        wanted.append(JobLog.message.icontains(text, autoescape=True))
    found = select(JobLog).where(*wanted).order_by(JobLog.attempt, JobLog.number).limit(limit)
    return session.scalars(found).all()


def _rank(level: LogLevel) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
