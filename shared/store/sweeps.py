"""Sweeps: their jobs, ranked, and lists of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from shared.db.tables import IS_RUNNING, Job, JobValue
from shared.db.tables import Sweep as SweepRow
from shared.errors import SweepNotFound
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import DEFAULT_OBJECTIVE, Mode, Sweep, SweepCreate, SweepDetail, SweepResult, mode_of
from shared.store import metric_names, rights
from shared.store.keyset import CreationKey, newest_first
from shared.store.rights import Actor

_REQUEST: TypeAdapter[SweepCreate] = TypeAdapter(SweepCreate)
_OF_RESULT = (Job.id, Job.state, Job.spec, Job.last_values)


@dataclass(frozen=True)
class Objective:
    """The metric by which jobs are ranked, and whether its least or its greatest value is the best."""

    metric: str
    mode: Mode

    @classmethod
    def of(cls, metric: str = DEFAULT_OBJECTIVE, mode: Mode | None = None) -> "Objective":
        """Return the objective of a request; without a mode the metric's name suggests it."""
        return cls(metric, mode or mode_of(metric))

    def rank(self, value: float) -> float:
        """Return a number that is the less, the better a value is."""
        return value if self.mode is Mode.MIN else -value


def detail(session: Session, sweep_id: UUID, objective: Objective) -> SweepDetail:
    """Return a sweep with its jobs, best first.

    Raises:
        SweepNotFound: there is no such sweep.
        UnknownMetric: its jobs have recorded metrics, and not this one.
    """
    row = session.get(SweepRow, sweep_id)
    if row is None:
        raise SweepNotFound(f"there is no sweep {sweep_id}")
    results = _results(session, row, objective)
    if objective.metric != DEFAULT_OBJECTIVE and all(result.value is None for result in results):
        known = metric_names.recorded(session, sweep_id)
        if known and objective.metric not in known:
            raise metric_names.unknown(objective.metric, known)
    [sweep] = _describe(session, [row], objective)
    return SweepDetail(**dict(sweep), jobs=results)


def request(session: Session, sweep_id: UUID) -> SweepCreate:
    """Return the request that submitted a sweep.

    Raises:
        SweepNotFound: there is no such sweep.
    """
    row = session.get(SweepRow, sweep_id)
    if row is None:
        raise SweepNotFound(f"there is no sweep {sweep_id}")
    return _REQUEST.validate_python(row.request)


def page(
    session: Session,
    objective: Objective,
    *,
    submitted_by: str | None = None,
    after: CreationKey | None = None,
    limit: int,
) -> list[tuple[CreationKey, Sweep]]:
    """Return up to `limit` sweeps with their keys and their best jobs, newest first.

    Args:
        submitted_by: those of the API keys with this id or name, `none` for no key; None: all.

    Raises:
        UnknownMetric: no job has recorded the objective.
    """
    if objective.metric != DEFAULT_OBJECTIVE:
        metric_names.require(session, objective.metric)
    statement = select(SweepRow)
    if submitted_by is not None:
        statement = statement.where(SweepRow.id.in_(rights.of_jobs_by(session, submitted_by, Job.sweep_id)))
    rows = newest_first(session, statement, SweepRow, after=after, limit=limit)
    sweeps = _describe(session, [row for _, row in rows], objective)
    return [(key, sweep) for (key, _), sweep in zip(rows, sweeps, strict=True)]


def cancellable(session: Session, sweep_id: UUID, actor: Actor) -> Sequence[UUID]:
    """Return the ids of a sweep's unfinished jobs, oldest first, for someone who is to cancel them.

    Raises:
        SweepNotFound: there is no such sweep.
        NotPermitted: it belongs to others.
    """
    if session.get(SweepRow, sweep_id) is None:
        raise SweepNotFound(f"there is no sweep {sweep_id}")
    owner = _owners(session, [sweep_id]).get(sweep_id)
    if not rights.changeable(session, actor, [owner]):
        raise rights.refusal(session, f"sweep {sweep_id}", owner, actor)
    unfinished = (Job.sweep_id == sweep_id, Job.state.not_in(TERMINAL))
    return session.scalars(select(Job.id).where(*unfinished).order_by(Job.id)).all()


def _describe(session: Session, rows: Sequence[SweepRow], objective: Objective) -> tuple[Sweep, ...]:
    ids = [row.id for row in rows]
    counts = session.execute(
        select(Job.sweep_id, Job.state, func.count())
        .where(Job.sweep_id.in_(ids))
        .group_by(Job.sweep_id, Job.state)
    ).all()
    best = _best(session, ids, objective)
    owners = _owners(session, ids)
    names = rights.names(session, owners.values())
    return tuple(
        Sweep(
            id=row.id,
            name=row.name,
            strategy=row.request["strategy"],
            parameters=row.request["parameters"],
            states={JobState(state): count for sweep_id, state, count in counts if sweep_id == row.id},
            objective=objective.metric,
            mode=objective.mode,
            best=_result(row, best[row.id], objective) if row.id in best else None,
            created_at=row.created_at,
            api_key_id=owners.get(row.id),
            submitted_by=names.get(owners.get(row.id)),
        )
        for row in rows
    )


def _owners(session: Session, ids: Sequence[UUID]) -> dict[UUID | None, UUID | None]:
    """Return the API key of each sweep that has a job: all its jobs have one submitter."""
    first = select(Job.id).where(Job.sweep_id == SweepRow.id).limit(1).scalar_subquery()
    firsts = select(first).where(SweepRow.id.in_(ids)).scalar_subquery()
    return dict(session.execute(select(Job.sweep_id, Job.api_key_id).where(Job.id.in_(firsts))).all())


def _best(session: Session, ids: Sequence[UUID], objective: Objective) -> dict[UUID, Row[Any]]:
    """Return the best ended or running job of each sweep in which one has a value."""
    of_sweep = (JobValue.sweep_id == SweepRow.id, JobValue.name == objective.metric)
    value = JobValue.value if objective.mode is Mode.MIN else JobValue.value.desc()
    ended = select(JobValue.job_id).where(*of_sweep).order_by(value, JobValue.job_id).limit(1)
    first = select(ended.scalar_subquery()).where(SweepRow.id.in_(ids)).scalar_subquery()
    columns = (*_OF_RESULT, Job.sweep_id)
    jobs = [
        *session.execute(select(*columns).where(Job.id.in_(first))),
        *session.execute(select(*columns).where(Job.sweep_id.in_(ids), IS_RUNNING)),
    ]
    best: dict[UUID, Row[Any]] = {}
    for job in sorted(jobs, key=lambda job: _rank(job, objective), reverse=True):
        if _value(job, objective) is not None:
            best[job.sweep_id] = job
    return best


def _results(session: Session, row: SweepRow, objective: Objective) -> tuple[SweepResult, ...]:
    jobs = session.execute(select(*_OF_RESULT).where(Job.sweep_id == row.id)).all()
    in_order = sorted(jobs, key=lambda job: _rank(job, objective))
    return tuple(_result(row, job, objective) for job in in_order)


def _rank(job: Row[Any], objective: Objective) -> tuple[float, UUID]:
    value = _value(job, objective)
    return math.inf if value is None else objective.rank(value), job.id


def _value(job: Row[Any], objective: Objective) -> float | None:
    """Return a job's value of the objective: none while it waits, so that ranks follow from an index."""
    value: float | None = job.last_values.get(objective.metric)
    return None if job.state == JobState.QUEUED else value


def _result(row: SweepRow, job: Row[Any], objective: Objective) -> SweepResult:
    return SweepResult(
        job_id=job.id,
        state=job.state,
        parameters={name: job.spec[name] for name in row.request["parameters"]},
        value=_value(job, objective),
    )
