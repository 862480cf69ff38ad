"""What each tenant has waiting and running in a queue."""

from collections.abc import Collection
from contextlib import suppress
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared import schemas
from shared.db.clock import Now, database_now
from shared.db.tables import IS_UNFINISHED, ApiKey, Job
from shared.lifecycle import JobState


def loads(
    session: Session, queue: str | None = None, *, limit: int, now: Now = database_now
) -> list[tuple[str, schemas.TenantLoad]]:
    """Return the unfinished jobs of up to `limit` tenants, of a queue or of all: those with the most first.

    Returns:
        The name of the queue and the tenant's load in it, for each.
    """
    is_queued = Job.state == JobState.QUEUED
    queued = func.count().filter(is_queued)
    statement = (
        select(
            *(Job.queue, Job.tenant, queued.label("queued"), func.count().label("jobs")),
            func.min(Job.created_at).filter(is_queued).label("oldest"),
            now().label("read_at"),
        )
        .where(IS_UNFINISHED)
        .group_by(Job.queue, Job.tenant)
        .order_by(queued.desc(), Job.queue, Job.tenant)
        .limit(limit)
    )
    rows = session.execute(statement if queue is None else statement.where(Job.queue == queue)).all()
    names = _names(session, {row.tenant for row in rows})
    return [
        (
            row.queue,
            schemas.TenantLoad(
                tenant=row.tenant or None,
                name=names.get(row.tenant),
                queued=row.queued,
                running=row.jobs - row.queued,
                longest_wait_s=row.oldest and max(0.0, (row.read_at - row.oldest).total_seconds()),
            ),
        )
        for row in rows
    ]


def _names(session: Session, tenants: Collection[str]) -> dict[str, str | None]:
    """Return the names of the keys among these tenants."""
    ids: dict[UUID, str] = {}
    for tenant in tenants:
        kind, _, text = tenant.partition(" ")
        if kind == "key":
            with suppress(ValueError):  # a key of the settings, which has a number
                ids[UUID(text)] = tenant
    named = session.execute(select(ApiKey.id, ApiKey.name).where(ApiKey.id.in_(ids)))
    return {ids[row.id]: row.name for row in named}
