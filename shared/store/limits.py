"""Limits of how many jobs of a queue, or of an API key, run at the same time; they may change at any time.

No claim exceeds a limit after its change was committed. A claim reads `queues`, so on PostgreSQL it
holds a lock on that table until it is committed. A change of a limit waits for that lock, and so for all
claims that do not see the change. While any limit is set, claims are made one after another, since each
counts the running jobs. SQLite has one writer at a time anyway.
"""

from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from shared.db.clock import Now
from shared.db.tables import IS_RUNNING, ApiKey, Job, Queue
from shared.db.upserts import upsert
from shared.schemas import WaitingFor
from shared.store import places

_IS_LIMITED = ApiKey.max_running.is_not(None)

ARE_SET: ColumnElement[bool] = (
    select(Queue.name).where(Queue.max_running.is_not(None)).exists()
    | select(ApiKey.id).where(_IS_LIMITED).exists()
)
"""SQL for whether any limit is set."""


def limit_queue(session: Session, queue: str, max_running: int | None) -> None:
    """Limit how many jobs of a queue run at the same time. Idempotent.

    Jobs that run already continue.

    Args:
        max_running: the most running jobs; None for no limit.
    """
    lock_for_change(session)
    if max_running is None:
        of_queue = Queue.name == queue
        session.execute(delete(Queue).where(of_queue, Queue.paused_at.is_(None)))
        session.execute(update(Queue).where(of_queue).values(max_running=None))
    else:
        upsert(session, Queue, {"name": queue, "max_running": max_running})


def lock_for_change(session: Session) -> None:
    """Wait for the claims that are being made, and block others until this transaction ends."""
    _lock(session, "ACCESS EXCLUSIVE")


def take_turn(session: Session) -> bool:
    """Return whether any limit is set; if so, block other claims until this transaction ends."""
    if not session.scalar(select(ARE_SET)):
        return False
    _lock(session, "SHARE ROW EXCLUSIVE")
    return True


def _lock(session: Session, mode: str) -> None:
    if session.get_bind().dialect.name == "postgresql":
        # a process that was suspended in a claim holds its lock for up to 10 s: after this timeout the
        # transaction is run again
        session.execute(text("SET LOCAL lock_timeout = '2s'"))
        session.execute(text(f"LOCK TABLE queues IN {mode} MODE"))
        session.execute(text("SET LOCAL lock_timeout = DEFAULT"))


def full_keys(session: Session) -> set[UUID]:
    """Return the API keys that have reached their limits."""
    return set(session.scalars(_full_keys()))


def first_of_keys(session: Session, queue: str, tenant: str, *, now: Now) -> list[UUID]:
    """Return a tenant's next job of each key below its limit; a team is a tenant with several keys."""
    of_key = places.due(queue, now=now).where(Job.api_key_id == ApiKey.id, Job.tenant == tenant)
    # not a join, for which PostgreSQL might read all waiting jobs
    first = of_key.with_only_columns(Job.id).order_by(*places.ORDER).limit(1).correlate(ApiKey)
    firsts = select(first.scalar_subquery()).where(ApiKey.id.not_in(_full_keys()))
    return [job_id for job_id in session.scalars(firsts) if job_id is not None]


def count_due(session: Session, queue: str, *, limit: int, now: Now) -> int:
    """Return how many due jobs of a queue the limits let start, at most `limit`.

    This is an upper bound: all due jobs of a key below its limit are counted.
    """
    parameters = {"of_queue": queue, "at_most": limit}
    # on PostgreSQL a sum of counts is a Decimal, but the caller needs an integer
    return min(limit, int(session.scalar(_count_due(now), parameters) or 0))


@lru_cache
def _count_due(now: Now) -> Select[int]:
    queue: BindParameter[str] = bindparam("of_queue")
    first = places.due(queue, now=now).with_only_columns(Job.id).limit(bindparam("at_most"))

    def count(of_key: ColumnElement[bool]) -> Any:
        jobs = first.where(of_key).correlate(ApiKey).subquery()
        return select(func.count(literal_column("1"))).select_from(jobs).scalar_subquery()

    counts = union_all(
        select(count(Job.api_key_id == ApiKey.id).label("jobs")).where(ApiKey.id.not_in(_full_keys())),
        select(count(Job.api_key_id.is_(None))),
    ).subquery()
    return select(func.sum(counts.c.jobs)).where(~_is_full(queue))


def reached(session: Session, queue: str, key_id: UUID | None) -> WaitingFor | None:
    """Return the limit that holds up the jobs of a queue and an API key, or None if none does."""
    full = session.execute(_FULL, {"of_queue": queue, "of_key": key_id}).one()
    if full.queue:
        return WaitingFor.QUEUE_LIMIT
    return WaitingFor.KEY_LIMIT if full.key else None


def is_queue_full(session: Session, queue: str) -> bool:
    """Return whether a queue has reached its limit."""
    return bool(session.scalar(select(_is_full(queue))))


def is_key_full(session: Session, key_id: UUID | None) -> bool:
    """Return whether an API key has reached its limit; False for None, since jobs without a key have none."""
    return session.scalar(_full_keys().where(ApiKey.id == key_id)) is not None


def let_start(queue: BindParameter[str]) -> tuple[ColumnElement[bool], ...]:
    """Return SQL conditions for whether a job of this queue can start within the limits."""
    return ~_is_full(queue), or_(Job.api_key_id.is_(None), Job.api_key_id.not_in(_full_keys()))


def _is_full(queue: str | BindParameter[str]) -> ColumnElement[bool]:
    """Return SQL for whether a queue has reached its limit."""
    running = select(func.count()).where(IS_RUNNING, Job.queue == queue).scalar_subquery()
    return select(Queue.name).where(Queue.name == queue, Queue.max_running <= running).exists()


def _full_keys() -> Select[UUID]:
    """Return a SELECT of the ids of the API keys that have reached their limits."""
    of_key = select(Job.api_key_id, func.count().label("jobs")).where(IS_RUNNING).group_by(Job.api_key_id)
    running = of_key.subquery()
    full = (running.c.api_key_id == ApiKey.id) & (running.c.jobs >= ApiKey.max_running)
    return select(ApiKey.id).where(_IS_LIMITED).join(running, full)


# built once, because building it takes ten times as long as executing it
_FULL = select(
    _is_full(bindparam("of_queue")).label("queue"),
    _full_keys().where(ApiKey.id == bindparam("of_key")).exists().label("key"),
)
