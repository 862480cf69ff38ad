"""Tenants: whose jobs take turns in a queue, and what each of them has used of it.

A tenant is a team, else an API key, else an address without one. Its virtual time in a queue is the
slot-seconds that its jobs have used, divided by its weight. One that begins to wait gets a row with the least
virtual time of the queue: nobody gets credit for what it did not use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Double,
    String,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from shared.db.clock import Now, database_now
from shared.db.tables import IS_UNFINISHED, ApiKey, Base, Job, Tenant
from shared.db.upserts import upsert_of
from shared.store import places

TENANTS = Base.metadata.tables[Tenant.__tablename__]
"""The table."""

_LOCK_SPACE = 0x7261696F  # of advisory locks; an arbitrary number that no other program should use
_KEPT = 0.8  # of the mean of a tenant's attempts, with each that ends


def name_of(team: str | None, key_id: UUID | None) -> str:
    """Return the name of the tenant of a team, or of a key that is of no team."""
    return f"key {key_id}" if team is None else f"team {team}"


def weights(session: Session) -> dict[str, float]:
    """Return the weights that are not 1, by tenant: that of a key, or the greatest of the keys of a team."""
    of_no_team, greatest = case((ApiKey.team.is_(None), ApiKey.id)), func.max(ApiKey.weight)
    found = select(ApiKey.team, of_no_team, greatest).group_by(ApiKey.team, of_no_team).having(greatest != 1)
    return {name_of(team, key_id): weight for team, key_id, weight in session.execute(found)}


@dataclass
class Use:
    """What a tenant has used of a queue.

    Attributes:
        time_s: virtual time.
        ended, ended_s: the number of attempts that have ended, and their seconds.
    """

    time_s: float = 0.0
    ended: int = 0
    ended_s: float = 0.0

    def add(self, other: "Use") -> None:
        """Add another use."""
        self.time_s += other.time_s
        self.ended += other.ended
        self.ended_s += other.ended_s


def add(
    session: Session, uses: Mapping[tuple[str, str], Use], *, now: Now = database_now
) -> set[tuple[str, str]]:
    """Add to the rows of tenants, by queue and tenant, what they have used; return which rows.

    Those that another transaction is writing are left out: a claim waits for no other.
    """
    statement = _add(session.get_bind().dialect.name, now)
    written = set()
    for (queue, tenant), use in uses.items():
        mean_s = use.ended_s / use.ended if use.ended else 0.0
        values = {"queue": queue, "name": tenant, "used_s": use.time_s, "mean_s": mean_s}
        kept = {"kept": _KEPT**use.ended}
        if session.connection().execute(statement, {**values, **kept}).one_or_none() is not None:
            written.add((queue, tenant))
    return written


@lru_cache
def _add(dialect: str, now: Now) -> ReturningInsert[Any]:
    queue, name = (bindparam(each, type_=String()) for each in ("queue", "name"))
    numbers: list[BindParameter[float]]
    numbers = [bindparam(each, type_=Double()) for each in ("used_s", "mean_s", "kept")]
    used, mean, kept = numbers
    others = TENANTS.alias()
    least = select(func.min(others.c.time_s)).where(others.c.queue == queue).scalar_subquery()
    new = {"queue": queue, "name": name, "mean_s": mean, "served_at": now()}
    before = case((TENANTS.c.mean_s == 0, mean), else_=TENANTS.c.mean_s)
    changes = {
        "time_s": TENANTS.c.time_s + used,
        "mean_s": before * kept + mean * (1 - kept),
        "served_at": now(),
    }
    values = {**new, "time_s": func.coalesce(least, 0.0) + used}
    return upsert_of(dialect, TENANTS, values, changes, where=_is_nobody_writing(dialect, queue, name))


def _is_nobody_writing(
    dialect: str, queue: ColumnElement[str], name: ColumnElement[str]
) -> ColumnElement[bool]:
    """SQL that locks a tenant, which need have no row, until the transaction ends; false if others have."""
    if dialect == "sqlite":  # it has one writer at a time
        return true()
    return func.pg_try_advisory_xact_lock(_LOCK_SPACE, func.hashtext(queue + " " + name))


def forget_idle(session: Session, *, limit: int) -> int:
    """Delete up to `limit` rows of tenants that have no unfinished job and are behind all that have some.

    If a queue has no unfinished job, all of its rows go: nobody waited while they were used.

    Returns:
        The number of rows that are deleted.
    """
    key, others = (TENANTS.c.queue, TENANTS.c.name), TENANTS.alias()
    least = select(func.min(others.c.time_s)).where(others.c.queue == TENANTS.c.queue, _is_busy(others))
    is_behind = TENANTS.c.time_s <= least.correlate(TENANTS).scalar_subquery()
    is_anyone = select(Job.id).where(IS_UNFINISHED, Job.queue == TENANTS.c.queue).correlate(TENANTS).exists()
    is_free = _is_nobody_writing(session.get_bind().dialect.name, *key)
    is_idle = and_(~_is_busy(TENANTS), or_(is_behind, ~is_anyone), is_free)
    rows = session.execute(select(*key).where(is_idle).order_by(*key).limit(limit)).all()
    session.execute(delete(TENANTS).where(tuple_(*key).in_([tuple(row) for row in rows])))
    return len(rows)


def _is_busy(table: Table | Any) -> ColumnElement[bool]:
    """SQL for whether a tenant of the table has unfinished jobs."""
    of_tenant = (Job.queue == table.c.queue) & (Job.tenant == table.c.name) & places.ANY_PRIORITY
    return select(Job.id).where(IS_UNFINISHED, of_tenant).correlate(table).exists()
