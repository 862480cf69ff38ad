"""Current activity, for people: the next jobs to start, the last finished jobs, and recent counts."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from shared import schemas
from shared.db.clock import Now, database_now
from shared.db.tables import IS_QUEUED, Job
from shared.lifecycle import TERMINAL, JobState
from shared.store import job_queries, turns


@dataclass(frozen=True)
class Finished:
    """The number of jobs that ended within a period.

    Attributes:
        since: the beginning of the period.
        states: the number of jobs in each final state.
    """

    since: datetime
    states: dict[JobState, int]

    @property
    def total(self) -> int:
        """The number of jobs in all final states."""
        return sum(self.states.values())


def read_now(session: Session, *, now: Now = database_now) -> datetime:
    """Return the database's time."""
    return session.execute(select(now())).scalar_one()


def next_to_start(session: Session, *, limit: int) -> list[UUID]:
    """Return the ids of up to `limit` queued jobs of all queues, in the order in which they will start.

    Due jobs of queues that are not paused come first.
    """
    queues = session.scalars(select(Job.queue).where(IS_QUEUED).distinct()).all()
    ahead = [deque(turns.upcoming(session, queue, limit=limit)) for queue in queues]
    found: list[UUID] = []
    while len(found) < limit and (waiting := [of_queue for of_queue in ahead if of_queue]):
        found.append(min(waiting, key=lambda of_queue: of_queue[0]).popleft()[1])
    if len(found) < limit:
        others = select(Job.id).where(IS_QUEUED, Job.id.not_in(found)).order_by(Job.place, Job.id)
        found += session.scalars(others.limit(limit - len(found)))
    return found


def last_finished(session: Session, *, limit: int) -> list[schemas.Job]:
    """Return up to `limit` finished jobs, most recently finished first."""
    ended = select(Job).where(Job.finished_at.is_not(None)).order_by(Job.finished_at.desc(), Job.id.desc())
    return job_queries.describe(session, session.scalars(ended.limit(limit)).all())


def finished_lately(session: Session, *, until: datetime, period_s: float, periods: int) -> list[Finished]:
    """Return the number of jobs that ended in each of `periods` consecutive periods, oldest first.

    Args:
        until: the end of the last period.
        period_s: the length of a period in seconds.
    """
    ends = [until - timedelta(seconds=period_s * count) for count in range(periods, -1, -1)]
    within = [
        (and_(Job.finished_at > since, Job.finished_at <= end), index)
        for index, (since, end) in enumerate(pairwise(ends))
    ]
    period = case(*within).label("period")
    counts = (
        select(period, Job.state, func.count())
        .where(Job.finished_at > ends[0], Job.finished_at <= until)
        .group_by(period, Job.state)
    )
    finished = [Finished(since, dict.fromkeys(sorted(TERMINAL), 0)) for since in ends[:-1]]
    for index, state, jobs in session.execute(counts):
        finished[index].states[JobState(state)] = jobs
    return finished
