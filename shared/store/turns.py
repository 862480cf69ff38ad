"""Whose turn it is: the tenant of the least virtual time gets the next slot of a queue.

`shared.store.tenants` has the virtual times, `shared.store.places` the order of a tenant's jobs. The head
start of a tenant's first job is subtracted: so priorities are head starts of slot-seconds here. A tenant that
has waited for `Rules.passed_s` since it last had a slot is next whatever the others have used.
`docs/architecture.md` says what follows from this, with the proof.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from math import ceil
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BindParameter,
    Select,
    and_,
    bindparam,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.orm import Session, aliased

from shared.db.clock import Now, database_now
from shared.db.tables import Job, is_waiting
from shared.store import limits, places
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.tenants import TENANTS, Use, add, weights

Order = tuple[bool, float, float, str]

_OF_QUEUE: BindParameter[str] = bindparam("of_queue")


@dataclass
class Turn:
    """A tenant that waits in a queue, and the first of its jobs that can start.

    Attributes:
        time_s: the tenant's virtual time.
        mean_s: of its last attempts; None: unknown.
        waits_since: since when it has had no slot.
        is_overdue: whether that is too long ago.
        is_new: whether it has no row yet, so that its virtual time is the least of the queue.
        job_id, key_id, place, head_start_s: of the job.
        jobs: how many of its jobs wait, at most as many as were counted.
    """

    tenant: str
    weight: float
    time_s: float
    mean_s: float | None
    waits_since: datetime
    is_overdue: bool
    is_new: bool
    job_id: UUID
    key_id: UUID | None
    place: float
    head_start_s: float
    jobs: int

    @property
    def order(self) -> Order:
        """The least is next."""
        if self.is_overdue:
            return False, self.waits_since.timestamp(), self.place, self.tenant
        return True, self.starts_at_s(), self.place, self.tenant

    def starts_at_s(self, after: int = 0, expected_s: float = 0.0) -> float:
        """Return the virtual time at which a job starts, if all goes on as it did.

        Args:
            after: how many of the tenant's jobs start before it.
            expected_s: how long a job takes if that is unknown.
        """
        return self.time_s - self.head_start_s + after * self.job_s(expected_s)

    def job_s(self, expected_s: float) -> float:
        """Return the virtual time that a job of the tenant takes."""
        return (self.mean_s or expected_s) / self.weight


def read(
    session: Session,
    queue: str,
    *,
    unless_limited: bool = False,
    count: int = 0,
    rules: Rules = DEFAULT_RULES,
    now: Now = database_now,
) -> list[Turn]:
    """Return the turns of the tenants that have a job that can start, in no order; none while it is paused.

    Args:
        unless_limited: return none while any limit is set, which is not looked at otherwise.
        count: up to how many jobs of each are counted.
    """
    statement = _select(unless_limited, count, now)
    rows = session.connection().execute(statement, {"of_queue": queue}).all()
    of_tenants = weights(session) if rows else {}
    turns = []
    for row in rows:
        waits_since: datetime = row.served_at or row.scheduled_at
        turn = Turn(
            tenant=row.tenant,
            weight=of_tenants.get(row.tenant, 1.0),
            time_s=row.time_s or 0.0,
            mean_s=row.mean_s or None,
            waits_since=waits_since,
            is_overdue=(row.at - waits_since).total_seconds() > rules.passed_s,
            is_new=row.mean_s is None,
            job_id=row.id,
            key_id=row.api_key_id,
            place=row.place,
            head_start_s=row.head_start_s,
            jobs=row.jobs,
        )
        turns.append(turn)
    return turns


def enter(session: Session, queue: str, *, unless_limited: bool, rules: Rules, now: Now) -> list[Turn]:
    """Do as `read`, and store the virtual time at which those that are new begin: this moment's."""
    found = read(session, queue, unless_limited=unless_limited, rules=rules, now=now)
    if new := {(queue, turn.tenant): Use() for turn in found if turn.is_new}:
        add(session, new, now=now)
    return found


@lru_cache
def _select(unless_limited: bool, count: int, now: Now) -> Select[Any]:
    """SELECT of the tenants that wait, each with its first job that can start, and its row.

    An index finds each by one look, the last one first: at its last job, which is there, however many before
    it are done and still seen by an old snapshot.
    """
    others, first = aliased(Job), aliased(Job)
    waiting = is_waiting(others) & (others.queue == _OF_QUEUE)
    last = select(func.max(others.tenant)).where(waiting)
    found: CTE = select(last.scalar_subquery().label("tenant")).cte("found", recursive=True)
    before = last.where(others.tenant < found.c.tenant).correlate(found).scalar_subquery()
    found = found.union_all(select(before).where(found.c.tenant.is_not(None)))
    due = places.due(_OF_QUEUE, now=now).with_only_columns(Job.id).where(Job.tenant == found.c.tenant)
    first_id = due.order_by(*places.ORDER).limit(1).correlate(found).scalar_subquery()
    least = select(func.min(TENANTS.c.time_s)).where(TENANTS.c.queue == _OF_QUEUE).scalar_subquery()
    counted = select(others.queue).where(waiting, others.tenant == found.c.tenant)
    counted = counted.limit(count).correlate(found)
    jobs = select(func.count()).select_from(counted.subquery()).scalar_subquery() if count else literal(0)
    own = TENANTS.alias()
    of_job = (first.id, first.api_key_id, first.place, first.head_start_s, first.scheduled_at)
    return (
        select(
            *(found.c.tenant, func.coalesce(own.c.time_s, least).label("time_s")),
            *(own.c.mean_s, own.c.served_at, *of_job, now().label("at"), jobs.label("jobs")),
        )
        .select_from(found)
        .join(first, first.id == first_id)
        .outerjoin(own, and_(own.c.queue == _OF_QUEUE, own.c.name == found.c.tenant))
        .where(~limits.ARE_SET if unless_limited else true())
    )


def within_limits(session: Session, queue: str, *, rules: Rules, now: Now) -> list[Turn]:
    """Return the turns of the tenants that have a job that the limits let start, in order.

    It looks at one job of each tenant, and of each key of a team of which a key has reached its limit: its
    time does not depend on how many jobs wait for limits.
    """
    if limits.is_queue_full(session, queue):
        return []
    full = limits.full_keys(session)
    found = [
        turn if turn.key_id not in full else _of_other_keys(session, queue, turn, now)
        for turn in enter(session, queue, unless_limited=False, rules=rules, now=now)
    ]
    return sorted((turn for turn in found if turn is not None), key=lambda turn: turn.order)


def _of_other_keys(session: Session, queue: str, turn: Turn, now: Now) -> Turn | None:
    """Return a turn with the tenant's first job of those keys that may start one; None if there is none."""
    ids = limits.first_of_keys(session, queue, turn.tenant, now=now)
    jobs = select(Job.id, Job.place, Job.head_start_s).where(Job.id.in_(ids)).order_by(*places.ORDER)
    row = session.execute(jobs).first() if ids else None
    return row and replace(turn, job_id=row.id, place=row.place, head_start_s=row.head_start_s)


def position(turns: Sequence[Turn], own: Turn, ahead: int, *, expected_s: float) -> int:
    """Return the position of a job in its queue, if all goes on as it did: 1 is next.

    Args:
        turns: of the tenants that wait in the queue; `own` is that of the job's tenant.
        ahead: how many jobs of its tenant start before it.
        expected_s: how long a job takes if that is unknown.
    """
    if own.is_overdue and not ahead:
        return 1 + sum(turn.order < own.order for turn in turns)
    at_s, before = own.starts_at_s(ahead, expected_s), ahead
    for turn in turns:
        if turn is not own:
            jobs = (at_s - turn.starts_at_s()) / turn.job_s(expected_s)
            earlier = max(turn.is_overdue, ceil(jobs - 1e-6))
            if abs(earlier - jobs) < 1e-6 and (turn.place, turn.tenant) < (own.place, own.tenant):
                earlier += 1  # both start at the same virtual time
            before += max(0, min(earlier, turn.jobs))
    return 1 + before


def upcoming(
    session: Session, queue: str, *, limit: int, now: Now = database_now
) -> list[tuple[float, UUID]]:
    """Return the places and ids of up to `limit` jobs that can start, in order, if all goes on as it did."""
    found = []
    for turn in sorted(read(session, queue, now=now), key=lambda turn: turn.order)[:limit]:
        jobs = places.due(queue, now=now).where(Job.tenant == turn.tenant).add_columns(Job.id)
        rows = session.execute(jobs.order_by(*places.ORDER).limit(limit)).all()
        for number, (place, job_id) in enumerate(rows):
            order = (True, turn.starts_at_s(number, 1.0), place, turn.tenant) if number else turn.order
            found.append((order, place, job_id))
    return [(place, job_id) for _, place, job_id in sorted(found)[:limit]]
