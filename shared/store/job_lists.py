"""Lists of jobs: filters, orders, and pages that follow one another without a gap or a repeat.

A page is found in two steps: the ids, which an index of the order holds with all that most filters look at,
and then the rows of those that are shown. A cursor names the last job of its page by the value that jobs are
sorted by, and its id: what comes after is the same whatever was submitted or deleted in between.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared import schemas
from shared.db.tables import Attempt, Job, JobTag
from shared.errors import InvalidCursor
from shared.lifecycle import JobState
from shared.schemas import JobListQuery, JobOrder
from shared.store import job_queries

_MANY = {"sqlite": 5_000, "postgresql": 1_000}  # jobs of one tag or one worker

_KEYS: dict[str, InstrumentedAttribute[Any]] = {
    "created_at": Job.created_at,
    "duration": Job.duration_s,
    "val_accuracy": Job.val_accuracy,
    "evaluation_accuracy": Job.evaluation_accuracy,
}


@dataclass(frozen=True)
class _Place:
    """Where a page ended: the sorted value of its last job, None if that has none, and its id."""

    key: datetime | float | None
    id: UUID


def page(session: Session, query: JobListQuery) -> schemas.JobPage:
    """The jobs that fit, from the cursor on.

    Raises:
        InvalidCursor: it is none, or comes from a list in another order.
    """
    after = _decoded(query.cursor, query.sort) if query.cursor is not None else None
    found = _places(session, query, after)
    shown, has_more = found[: query.limit], len(found) > query.limit
    rows = {row.id: row for row in session.scalars(select(Job).where(Job.id.in_(at.id for at in shown)))}
    return schemas.JobPage(
        data=tuple(job_queries.describe(session, [rows[at.id] for at in shown])),
        next_cursor=_encoded(shown[-1], query.sort) if has_more else None,
        has_more=has_more,
    )


def counts(session: Session) -> schemas.JobCounts:
    """How many jobs there are in each state, and in each state of each queue."""
    queues: dict[str, dict[JobState, int]] = {}
    for queue, state, jobs in session.execute(
        select(Job.queue, Job.state, func.count()).group_by(Job.queue, Job.state).order_by(Job.queue)
    ):
        queues.setdefault(queue, dict.fromkeys(JobState, 0))[JobState(state)] = jobs
    states = {state: sum(queue[state] for queue in queues.values()) for state in JobState}
    return schemas.JobCounts(total=sum(states.values()), states=states, queues=queues)


def _places(session: Session, query: JobListQuery, after: _Place | None) -> list[_Place]:
    """The next jobs, one more than the page shows: those with a value to sort by, and then those without."""
    wanted, descending = query.limit + 1, query.sort.startswith("-")
    key = _KEYS[query.sort.removeprefix("-")]
    conditions = tuple(_conditions(session, query))
    found: list[_Place] = []
    if after is None or after.key is not None:
        keyed = select(key, Job.id).where(key.is_not(None), *conditions)
        order = (key.desc(), Job.id.desc()) if descending else (key, Job.id)
        if after is not None:
            here = tuple_(key, Job.id)
            keyed = keyed.where(here < (after.key, after.id) if descending else here > (after.key, after.id))
        found = _read(session, keyed.order_by(*order).limit(wanted))
    if key.property.columns[0].nullable and len(found) < wanted:
        rest = select(key, Job.id).where(key.is_(None), *conditions).order_by(Job.id.desc())
        if after is not None and after.key is None:
            rest = rest.where(Job.id < after.id)
        found += _read(session, rest.limit(wanted - len(found)))
    return found


def _read(session: Session, statement: Select[Any]) -> list[_Place]:
    return [_Place(key, job_id) for key, job_id in session.execute(statement)]


def _conditions(session: Session, query: JobListQuery) -> Iterator[ColumnElement[bool]]:
    if query.state:
        # not the bare column: SQLite would take the index by state, and sort most of all jobs that it finds
        yield func.coalesce(Job.state, "").in_(query.state)
    if query.kind is not None:
        yield Job.kind == query.kind
    if query.queue is not None:
        yield Job.queue == query.queue
    if query.tag is not None:
        yield _among(session, JobTag.job_id, JobTag.tag == query.tag)
    if query.worker is not None:
        yield _among(session, Attempt.job_id, Attempt.worker == query.worker)
    if query.q is not None:
        yield _contains(session, query.q)
    if query.created_after is not None:
        yield Job.created_at >= query.created_after
    if query.created_before is not None:
        yield Job.created_at < query.created_before


def _contains(session: Session, part: str) -> ColumnElement[bool]:
    """SQL for: the job's name has this part, in small or capital letters."""
    if session.get_bind().dialect.name == "sqlite":  # whose LIKE ignores the case of ASCII letters by itself
        return Job.name.contains(part, autoescape=True)
    # ILIKE takes twice as long, and so does a pattern that is made anew for each row
    pattern = select(func.lower("%" + re.sub(r"([\\%_])", r"\\\1", part) + "%")).scalar_subquery()
    return func.lower(Job.name).like(pattern)


def _among(
    session: Session, job_id: InstrumentedAttribute[UUID], condition: ColumnElement[bool]
) -> ColumnElement[bool]:
    """SQL for: the job is one of those in the rows of another table that meet the condition.

    Few are looked up and then sorted; many are kept aside, and jobs read in order until the page is full.
    Neither database can tell which is quicker: SQLite keeps no statistics, and PostgreSQL takes it that those
    jobs lie among the others evenly.
    """
    those = select(job_id).where(condition)
    many = _MANY[session.get_bind().dialect.name]
    found = session.scalar(select(func.count()).select_from(those.limit(many).subquery())) or 0
    among = Job.id.in_(those)
    return among if found < many else func.coalesce(among, False)  # no join, which would set the order


def _encoded(place: _Place, order: JobOrder) -> str:
    key = place.key.isoformat() if isinstance(place.key, datetime) else place.key
    return urlsafe_b64encode(json.dumps([order, key, place.id.hex]).encode()).decode().rstrip("=")


def _decoded(cursor: str, order: JobOrder) -> _Place:
    try:
        made_for, key, job_id = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        made_for, job_id = JobOrder(made_for), UUID(job_id)
        place = _Place(_key(key, made_for), job_id)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidCursor("the cursor is not one of this API's: take `next_cursor` of a page") from error
    if made_for != order:
        raise InvalidCursor(f"the cursor belongs to a list sorted by {made_for}: go on with that order")
    return place


def _key(stored: Any, order: JobOrder) -> datetime | float | None:
    if order in (JobOrder.NEWEST, JobOrder.OLDEST):
        return datetime.fromisoformat(stored).astimezone(UTC)
    return None if stored is None else float(stored)
