"""Lists of jobs: filters, orders and pages; and the number of jobs in each state.

A page is read in two steps: first the ids, from an index that has the order and covers most filters, and then
the rows of these jobs.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import FiniteFloat
from sqlalchemy import ColumnElement, Select, SQLColumnExpression, and_, exists, func, null, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from shared import schemas
from shared.db.tables import Attempt, Job, JobTag, JobValue
from shared.lifecycle import JobState
from shared.schemas import JobListQuery, UtcTime
from shared.store import job_queries, metric_names, rights

# up to this number, the jobs of a tag or a worker are looked up and then sorted: see _is_among
_LOOKUP_LIMIT = {"sqlite": 5_000, "postgresql": 1_000}

_BY_TIME = ("-created_at", "created_at")
_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {"created_at": Job.created_at, "duration": Job.duration_s}
"""The sort orders other than by a metric."""

JobKey = tuple[UtcTime | FiniteFloat | None, UUID]
"""The sort key of a job: the value that the list is sorted by, or None if the job has none, and its id."""


def key_type(order: str) -> type[JobKey]:
    """Return the type of the keys of a list in this order, for validation."""
    return tuple[UtcTime, UUID] if order in _BY_TIME else tuple[FiniteFloat | None, UUID]


def page(
    session: Session, query: JobListQuery, *, after: JobKey | None = None, limit: int
) -> list[tuple[JobKey, schemas.Job]]:
    """Return up to `limit` jobs that match the query, with their keys.

    The query's own `limit` and `cursor` are ignored.

    Args:
        after: the key of the last job of the previous page; None for the first page.

    Raises:
        UnknownMetric: no job has recorded the metric by which the jobs are to be sorted.
    """
    keys = _keys(session, query, after, limit)
    of_page = select(Job).where(Job.id.in_(job_id for _, job_id in keys))
    rows = {row.id: row for row in session.scalars(of_page)}
    jobs = job_queries.describe(session, [rows[job_id] for _, job_id in keys])
    return list(zip(keys, jobs, strict=True))


def of_ids(session: Session, ids: Collection[UUID]) -> Sequence[schemas.Job]:
    """Return the jobs with these ids that exist, newest first."""
    rows = session.scalars(select(Job).where(Job.id.in_(ids)).order_by(Job.created_at.desc(), Job.id.desc()))
    return job_queries.describe(session, rows.all())


def matching(session: Session, query: JobListQuery, ids: Collection[UUID]) -> Sequence[UUID]:
    """Return those of these ids whose jobs match the query."""
    members = (each.condition for each in _memberships(session, query))
    matched = select(Job.id).where(Job.id.in_(ids), *_conditions(session, query), *members)
    return session.scalars(matched).all()


def counts(session: Session) -> schemas.JobCounts:
    """Return the number of jobs: in total, in each state, and in each state of each queue."""
    queues: dict[str, dict[JobState, int]] = {}
    for queue, state, jobs in session.execute(
        select(Job.queue, Job.state, func.count()).group_by(Job.queue, Job.state).order_by(Job.queue)
    ):
        queues.setdefault(queue, dict.fromkeys(JobState, 0))[JobState(state)] = jobs
    states = {state: sum(queue[state] for queue in queues.values()) for state in JobState}
    return schemas.JobCounts(total=sum(states.values()), states=states, queues=queues)


def _keys(session: Session, query: JobListQuery, after: JobKey | None, limit: int) -> list[JobKey]:
    """Return the keys of the next jobs: first jobs that have a value of the order, then those without one."""
    order = _order(session, query)
    members = [each.condition for each in order.memberships]
    keys: list[JobKey] = []
    if after is None or after[0] is not None:
        with_value = order.having.where(*_conditions(session, query, values=order.row), *members).limit(limit)
        keys = _read(session, order.continued(with_value, after, descending=query.sort.startswith("-")))
    if len(keys) < limit and order.lacking is not None:
        without = select(null(), Job.id).where(order.lacking, *_conditions(session, query), *members)
        without = without.order_by(Job.id.desc())
        if after is not None and after[0] is None:
            without = without.where(Job.id < after[1])
        keys += _read(session, without.limit(limit - len(keys)))
    return keys


class _Membership(NamedTuple):
    """A condition that a job belongs to a set of jobs.

    Attributes:
        is_narrow: whether the set is so small that its jobs are looked up and then sorted.
    """

    condition: ColumnElement[bool]
    is_narrow: bool


class _Order(NamedTuple):
    """The order of a list: the value by which jobs are sorted, and their ids.

    Attributes:
        row: the table of the values.
        having: selects the values and ids of the jobs that have a value.
        lacking: SQL for whether a job has no value; None if every job has one.
    """

    row: type[Job | JobValue]
    value: SQLColumnExpression[Any]
    job_id: SQLColumnExpression[UUID]
    having: Select[Any, UUID]
    lacking: ColumnElement[bool] | None
    memberships: list[_Membership]

    def continued(
        self, statement: Select[Any, UUID], after: JobKey | None, *, descending: bool
    ) -> Select[Any, UUID]:
        """Return a statement such as `having` with this order, from after a key on."""
        if after is not None:
            key = tuple_(self.value, self.job_id)
            statement = statement.where(key < after if descending else key > after)
        if descending:
            return statement.order_by(self.value.desc(), self.job_id.desc())
        return statement.order_by(self.value, self.job_id)


def _order(session: Session, query: JobListQuery) -> _Order:
    memberships, name = list(_memberships(session, query)), query.sort.removeprefix("-")
    if name in _COLUMNS:
        column = _COLUMNS[name]
        having, may_lack = select(column, Job.id).where(column.is_not(None)), name != "created_at"
        return _Order(Job, column, Job.id, having, column.is_(None) if may_lack else None, memberships)
    metric_names.require(session, name)
    of_jobs = select(JobValue.value, JobValue.job_id).join(Job, Job.id == JobValue.job_id)
    other = aliased(Job)
    if filters := [*_conditions(session, query, other)]:
        memberships += [each for each in (_is_among(session, other.id, and_(*filters)),) if each.is_narrow]
    # the jobs of a small set are looked up by their ids, so the index by name must not be used
    is_narrow = any(each.is_narrow for each in memberships)
    is_named = (func.coalesce(JobValue.name, "") if is_narrow else JobValue.name) == name
    lacking = ~exists().where(JobValue.job_id == Job.id, JobValue.name == name)
    return _Order(JobValue, JobValue.value, JobValue.job_id, of_jobs.where(is_named), lacking, memberships)


def _read(session: Session, statement: Select[Any, UUID]) -> list[JobKey]:
    return [(value, job_id) for value, job_id in session.execute(statement)]


def _conditions(
    session: Session, query: JobListQuery, job: type[Job] = Job, values: type[Job | JobValue] | None = None
) -> Iterator[ColumnElement[bool]]:
    """Yield SQL for the filters by columns of a job's row.

    Args:
        values: the table of the values by which jobs are sorted, which has copies of some of these columns.
    """
    row = values or job
    if query.state:
        # not the bare column: SQLite would use the index on the state, and sort most of the jobs
        yield func.coalesce(row.state, "").in_(query.state)
    if query.kind is not None:
        yield row.kind == query.kind
    if query.queue is not None:
        yield row.queue == query.queue
    if query.q is not None:
        yield _contains(session, job.name, query.q)
    if query.created_after is not None:
        yield job.created_at >= query.created_after
    if query.created_before is not None:
        yield job.created_at < query.created_before


def _memberships(session: Session, query: JobListQuery) -> Iterator[_Membership]:
    """Yield the filters by rows of other tables, and by the submitter."""
    if query.tag is not None:
        yield _is_among(session, JobTag.job_id, JobTag.tag == query.tag)
    if query.worker is not None:
        yield _is_among(session, Attempt.job_id, Attempt.worker == query.worker)
    if query.submitted_by is not None:
        yield _is_by(session, query)


def _is_by(session: Session, query: JobListQuery) -> _Membership:
    """Return the filter of jobs that were submitted by a key that the query names."""
    keys = rights.keys_named(session, query.submitted_by or "")
    if keys == [None]:
        return _Membership(Job.api_key_id.is_(None), is_narrow=False)
    other = aliased(Job)
    among = _is_among(session, other.id, rights.is_one_of(other.api_key_id, keys))
    # not the bare column: if there are many jobs, they are read in order, and not by the index of the keys
    are_many = _Membership(func.coalesce(Job.api_key_id, Job.id).in_(keys), is_narrow=False)
    return among if among.is_narrow else are_many


def _contains(session: Session, name: InstrumentedAttribute[str | None], part: str) -> ColumnElement[bool]:
    """Return SQL for whether a job's name contains a text, ignoring case."""
    if session.get_bind().dialect.name == "sqlite":  # SQLite's LIKE ignores the case of ASCII letters
        return name.contains(part, autoescape=True)
    # twice as fast as ILIKE, and as computing the pattern for each row
    pattern = select(func.lower("%" + re.sub(r"([\\%_])", r"\\\1", part) + "%")).scalar_subquery()
    return func.lower(name).like(pattern)


def _is_among(
    session: Session, job_id: InstrumentedAttribute[UUID], condition: ColumnElement[bool]
) -> _Membership:
    """Return the filter of jobs to which a row of another table refers that meets a condition.

    A few such jobs are looked up and then sorted. If there are many, their ids are collected, and jobs are
    read in order until the page is full. Neither database can make this choice: SQLite has no statistics, and
    PostgreSQL assumes that these jobs are evenly distributed among the others.
    """
    ids = select(job_id).where(condition)
    limit = _LOOKUP_LIMIT[session.get_bind().dialect.name]
    number = session.scalar(select(func.count()).select_from(ids.limit(limit).subquery())) or 0
    among, is_narrow = Job.id.in_(ids), number < limit
    # if there are many jobs, the condition must not become a join, which would determine the order
    return _Membership(among if is_narrow else func.coalesce(among, False), is_narrow)
