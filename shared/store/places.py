"""The order of a tenant's queued jobs: each job has a place, and the job of the least place is next.

`shared.store.turns` determines which tenant is next. A place is fixed when a job is submitted; a retried or
released job keeps it. Within a tenant, its sweeps and its single jobs take turns: this is start-time fair
queueing (Goyal, Vin and Cheng, SIGCOMM 1996), whose clock is the place of the tenant's first waiting job.
The unit of places is the second: a job is placed a second behind the previous one of its sweep, or of the
single jobs, and a priority is a head start in seconds. A submission reads two entries of an index, locks
nothing and writes no clock.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    UnaryExpression,
    bindparam,
    exists,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.orm import Session

from shared.db.clock import Now
from shared.db.statements import Statement
from shared.db.tables import IS_QUEUED, Job, Queue, is_waiting
from shared.schemas import Priority
from shared.settings import Settings

JOB_S = 1.0
"""The distance between the places of consecutive jobs of a sweep, or of the single jobs, in seconds."""

ORDER: tuple[UnaryExpression[Any], ...] = (Job.place.asc(), Job.id.asc())
"""ORDER BY of a tenant's jobs. Ids, which sort by creation time, decide between equal places."""


@dataclass(frozen=True)
class Rules:
    """The settings that determine the order of jobs.

    Attributes:
        urgent_s, high_s: the head start of these priorities over `normal`, in seconds.
        low_s: the head start of `normal` over `low`, in seconds.
        passed_s: seconds for which a waiting tenant may be passed by others, and the greatest age of a new
            job's place.
        min_run_s: seconds for which a preempted job runs before it can be preempted again.
    """

    urgent_s: float = 86_400.0
    high_s: float = 3_600.0
    low_s: float = 3_600.0
    passed_s: float = 7 * 86_400.0
    min_run_s: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Return the rules of a process with these settings."""
        return cls(
            settings.urgent_head_start_s,
            settings.high_head_start_s,
            settings.low_delay_s,
            settings.max_passed_s,
            settings.min_run_s,
        )

    def head_start_s(self, priority: Priority) -> float:
        """Return the head start of a priority over `normal`, in seconds; negative for `low`."""
        return {Priority.URGENT: self.urgent_s, Priority.HIGH: self.high_s, Priority.LOW: -self.low_s}.get(
            priority, 0.0
        )


DEFAULT_RULES = Rules()
"""The rules of the default settings."""


@dataclass(frozen=True)
class Applicant:
    """A job that is to be given a place.

    Attributes:
        earliest_at: the earliest time at which it may start; None if it may start at once.
    """

    job_id: UUID
    queue: str
    tenant: str
    priority: Priority
    sweep_id: UUID | None
    earliest_at: datetime | None


@dataclass(frozen=True)
class Place:
    """A job's place among those of its tenant, and its head start: columns of the job's row."""

    place: float
    head_start_s: float


def take_places(
    session: Session, jobs: Sequence[Applicant], at: datetime, *, rules: Rules
) -> dict[UUID, Place]:
    """Return the places of new jobs, which keep their order within each sweep and among the single jobs.

    Args:
        at: the time of the submission.
    """
    groups: defaultdict[tuple[str, str, Priority], defaultdict[UUID | None, list[Applicant]]]
    groups = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        groups[job.queue, job.tenant, job.priority][job.sweep_id].append(job)
    given: dict[UUID, Place] = {}
    for (queue, tenant, priority), of_sweeps in groups.items():
        known = {"of_queue": queue, "of_tenant": tenant, "of_priority": priority}
        row, head_start_s = _COME_TO.one_or_none(session, known), rules.head_start_s(priority)
        clock_s = now_s = at.timestamp()
        if row.turn is not None:
            # not after now: a first job that is to start later must not put off jobs that can start now
            clock_s = min(now_s, max(row.turn, now_s - rules.passed_s))
        for sweep_id, group in of_sweeps.items():
            behind = row.last + JOB_S if sweep_id is None and row.last is not None else -inf
            given |= _in_turn(group, max(clock_s - head_start_s, behind), head_start_s)
    return given


def _in_turn(group: Sequence[Applicant], first: float, head_start_s: float) -> Iterator[tuple[UUID, Place]]:
    for number, job in enumerate(group):
        place = first + number * JOB_S
        if job.earliest_at is not None:
            # the job has its turn at that time, and jobs that can start now need not pass it
            place = max(place, job.earliest_at.timestamp() - head_start_s)
        yield job.job_id, Place(place, head_start_s)


def due(queue: str | BindParameter[str], *, now: Now) -> Select[float]:
    """Return a SELECT of the jobs of a queue that can start now: none while the queue is paused."""
    can_start = is_waiting(), Job.scheduled_at <= now(), Job.cancel_requested_at.is_(None)
    return select(Job.place).where(*can_start, Job.queue == queue, ~is_paused(queue))


def is_paused(queue: str | BindParameter[str]) -> ColumnElement[bool]:
    """Return SQL for whether a queue is paused."""
    return exists(select(Queue.name).where(Queue.name == queue, Queue.paused_at.is_not(None)))


OF_TENANT: ColumnElement[bool] = (Job.queue == bindparam("of_queue")) & (Job.tenant == bindparam("of_tenant"))
"""SQL for whether a job is of a tenant in a queue: the parameters `of_tenant` and `of_queue`."""

ANY_PRIORITY: ColumnElement[bool] = Job.priority.in_([literal_column(f"'{each}'") for each in Priority])
"""SQL that is always true. With it, a tenant's jobs are found by the index of unfinished jobs, in which the
priority precedes the tenant."""

IS_BEFORE: ColumnElement[bool] = (
    is_waiting()
    & OF_TENANT
    & (
        tuple_(Job.place, Job.id)
        < tuple_(bindparam("of_place", type_=Job.place.type), bindparam("of_job", type_=Job.id.type))
    )
)
"""SQL for whether a job starts before a queued job of the same tenant, whose values are the parameters."""

_FIRST = select(Job.place + Job.head_start_s).where(is_waiting(), OF_TENANT).order_by(*ORDER).limit(1)
_LAST_SINGLE = (
    select(Job.place)
    .where(IS_QUEUED, OF_TENANT, Job.priority == bindparam("of_priority"), Job.sweep_id.is_(None))
    .where(Job.earliest_at.is_(None))
    # the sweep is in the order because PostgreSQL, which does not see that it is always NULL, would otherwise
    # read every waiting job
    .order_by(Job.sweep_id.desc(), Job.place.desc())
    .limit(1)
)
# the place of a tenant's next job, without its head start, and the place of the tenant's last single job
_COME_TO = Statement(
    select(_FIRST.scalar_subquery().label("turn"), _LAST_SINGLE.scalar_subquery().label("last"))
)
