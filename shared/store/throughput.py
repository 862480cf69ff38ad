"""How many jobs finished in each minute."""

from collections import defaultdict
from datetime import datetime, timedelta

from sqlalchemy import func, select, type_coerce
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now, minute_of
from shared.db.tables import Job, UtcDateTime
from shared.lifecycle import TERMINAL
from shared.schemas import FinishedInMinute, Throughput


def by_minute(session: Session, minutes: int, *, now: Now = database_now) -> Throughput:
    """Return how many jobs finished in each of the last minutes by the clock, with this one."""
    present = session.execute(select(type_coerce(now(), UtcDateTime()))).scalar_one()
    first = present.replace(second=0, microsecond=0) - timedelta(minutes=minutes - 1)
    minute = minute_of(Job.finished_at)
    finished = (
        select(minute, Job.state, func.count()).where(Job.finished_at >= first).group_by(minute, Job.state)
    )
    counts: dict[datetime, dict[str, int]] = defaultdict(lambda: dict.fromkeys(TERMINAL, 0))
    for at, state, jobs in session.execute(finished):
        counts[at][state] = jobs
    return Throughput(
        data=tuple(
            FinishedInMinute(at=at, **counts[at])
            for at in (first + timedelta(minutes=number) for number in range(minutes))
        )
    )
