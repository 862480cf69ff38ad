"""Tenants: whose turn it is. Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) over tenants.

Tenants share the workers of a queue: a sweep is one, else an API key with its other jobs, else an address
without a key. The jobs of a priority have a clock, which never goes back: the place of the one that starts
next. A new job gets that place, or a later one if its tenant has waiting jobs: it follows the last of them
by a second divided by the tenant's weight. While no job of a priority waits, its clock follows that of the
whole queue. `docs/architecture.md` states what follows from this, with the proof.

Only submissions write the clocks: a claim takes the least place, whatever has led to it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Double, Select, bindparam, delete, func, select, tuple_
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from shared.db.clock import Now
from shared.db.tables import IS_RUNNING, Base, Job, QueueClock, TenantClock
from shared.db.upserts import greatest, upsert_of
from shared.schemas import Priority
from shared.store import places
from shared.store.places import Rules

JOB_S = 1.0
"""By how much the place of a job is greater than that of the job before it, of a tenant of weight 1."""

_GRID_S = 2.0**-20  # places are multiples of it, so that sums of them are exact until the year 2106
_TENANTS, _QUEUES = (Base.metadata.tables[table.__tablename__] for table in (TenantClock, QueueClock))


@dataclass(frozen=True)
class Tenant:
    """Whose a job is, for the order of its queue.

    Attributes:
        name: such as `sweep <id>` or `key <id>`.
        weight: how many jobs it starts for each one of a tenant of weight 1 while both wait.
    """

    name: str = ""
    weight: float = 1.0

    @property
    def job_s(self) -> float:
        """By how much the place of a job is greater than that of the job before it."""
        return max(on_grid(JOB_S / self.weight), _GRID_S)


UNKNOWN = Tenant()
"""The tenant of jobs of which none is known."""


@dataclass(frozen=True)
class Applicant:
    """A job that is given a place."""

    job_id: UUID
    queue: str
    priority: Priority
    tenant: Tenant


def take_places(
    session: Session, jobs: Sequence[Applicant], at: datetime, *, rules: Rules, now: Now
) -> dict[UUID, float]:
    """Give new jobs their places, in their order within each tenant.

    Args:
        at: the time of the submission.
    """
    groups: defaultdict[tuple[str, Priority], defaultdict[Tenant, list[UUID]]]
    groups = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        groups[job.queue, job.priority][job.tenant].append(job.job_id)
    given: dict[UUID, float] = {}
    # in one order in all transactions, which could otherwise wait for each other's rows
    in_order = sorted(groups.items())
    clocks = [_read_clock(session, *of, at, rules, now) for of, _ in in_order]
    for clock, (_, by_tenant) in zip(clocks, in_order, strict=True):
        last = clock.place
        for tenant, job_ids in sorted(by_tenant.items(), key=lambda group: group[0].name):
            first = _reserve(session, clock, tenant, len(job_ids))
            given |= {job_id: first + number * tenant.job_s for number, job_id in enumerate(job_ids)}
            last = max(last, first + len(job_ids) * tenant.job_s)
        _move(session, clock, last)
    return given


@dataclass(frozen=True)
class _Clock:
    """The clock of a queue's jobs of a priority.

    Attributes:
        place: the least that a new job gets.
        served: the place that the queue has come to: that of its next job, or of the last that started.
    """

    queue: str
    priority: Priority
    place: float
    served: float


def _read_clock(
    session: Session, queue: str, priority: Priority, at: datetime, rules: Rules, now: Now
) -> _Clock:
    parameters = {"of_queue": queue, "of_priority": priority}
    rows = session.connection().execute(_select_clocks(now), parameters).all()
    row, clocks = rows[0], [each for each in rows if each.priority is not None]
    stored = next((clock for clock in clocks if clock.priority == priority), None)
    earliest_s, head_start_s = at.timestamp() - rules.passed_s, rules.head_start_s(priority)
    served = [clock.served for clock in clocks] or [at.timestamp()]
    if row.next is None and row.running is None:
        served += [clock.last for clock in clocks]
    elif row.running is not None:
        served.append(row.running)
    # a low job that is next has waited for its turn only if it has started
    if row.next is not None and row.next_priority != Priority.LOW:
        served.append(row.next)
    served_s = max(*served, earliest_s)
    known = [earliest_s - head_start_s, stored.place if stored else 0.0]
    if row.alike is not None:
        known.append(row.alike)
    else:
        known += [served_s - head_start_s, row.running_alike or (stored.last if stored else 0.0)]
    return _Clock(queue, priority, on_grid(max(known)), served_s)


def forget_past(session: Session, *, limit: int) -> int:
    """Delete up to `limit` clocks of tenants that have passed; return their number.

    No place depends on them: the next job of such a tenant gets the place of its priority's clock.
    """
    key = (_TENANTS.c.queue, _TENANTS.c.priority, _TENANTS.c.tenant)
    clock = (_QUEUES.c.queue == _TENANTS.c.queue) & (_QUEUES.c.priority == _TENANTS.c.priority)
    passed = select(*key).join(_QUEUES, clock).where(_TENANTS.c.next <= _QUEUES.c.place).order_by(*key)
    rows = session.execute(passed.limit(limit).with_for_update(of=_TENANTS, skip_locked=True)).all()
    session.execute(delete(_TENANTS).where(tuple_(*key).in_([tuple(row) for row in rows])))
    return len(rows)


def on_grid(seconds: float) -> float:
    """Return the nearest number of seconds that sums of places are exact with."""
    return round(seconds / _GRID_S) * _GRID_S


_OF_QUEUE: BindParameter[str] = bindparam("of_queue")


@lru_cache
def _select_clocks(now: Now) -> Select[Any]:
    """SELECT of a queue's clocks, each with the places of the next job and of the last one that started."""
    following = places.waiting(_OF_QUEUE, now=now).order_by(*places.ORDER).limit(1)
    running = select(func.max(Job.place)).where(IS_RUNNING, Job.queue == _OF_QUEUE)
    is_alike = Job.priority == bindparam("of_priority")
    jobs = select(
        following.scalar_subquery().label("next"),
        following.with_only_columns(Job.priority).scalar_subquery().label("next_priority"),
        following.where(is_alike).scalar_subquery().label("alike"),
        running.scalar_subquery().label("running"),
        running.where(is_alike).scalar_subquery().label("running_alike"),
    ).subquery()
    return select(jobs, _QUEUES).select_from(jobs.outerjoin(_QUEUES, _QUEUES.c.queue == _OF_QUEUE))


def _reserve(session: Session, clock: _Clock, tenant: Tenant, jobs: int) -> float:
    """Reserve consecutive places for jobs of a tenant, and return the first."""
    seconds = jobs * tenant.job_s
    key = {"queue": clock.queue, "priority": clock.priority, "tenant": tenant.name}
    values = {**key, "seconds": seconds, "next": clock.place + seconds}
    statement = _update_of_tenant(session.get_bind().dialect.name)
    after: float = session.connection().execute(statement, values).one().next
    return after - seconds


@lru_cache
def _update_of_tenant(dialect: str) -> ReturningInsert[Any]:
    values = {column.name: bindparam(column.name, type_=column.type) for column in _TENANTS.c}
    following = _TENANTS.c.next + bindparam("seconds", type_=Double())
    return upsert_of(dialect, _TENANTS, values, {"next": greatest(dialect, following, values["next"])})


def _move(session: Session, clock: _Clock, last: float) -> None:
    statement = _update_of_queue(session.get_bind().dialect.name)
    session.connection().execute(statement, {**vars(clock), "last": last})


@lru_cache
def _update_of_queue(dialect: str) -> ReturningInsert[Any]:
    values = {column.name: bindparam(column.name, type_=column.type) for column in _QUEUES.c}
    moved = ("place", "served", "last")
    later = {name: greatest(dialect, _QUEUES.c[name], values[name]) for name in moved}
    return upsert_of(dialect, _QUEUES, values, later)
