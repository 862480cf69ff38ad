"""Sweeps: their jobs, ranked, and lists of them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.db.tables import Job
from shared.db.tables import Sweep as SweepRow
from shared.errors import SweepNotFound
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import Objective, Sweep, SweepCreate, SweepDetail, SweepResult
from shared.store import rights
from shared.store.keyset import CreationKey, newest_first
from shared.store.rights import Actor

_REQUEST: TypeAdapter[SweepCreate] = TypeAdapter(SweepCreate)
_COLUMNS: dict[Objective, InstrumentedAttribute[float | None]] = {
    Objective.EVALUATION_ACCURACY: Job.evaluation_accuracy,
    Objective.ACCURACY: Job.accuracy,
    Objective.VAL_ACCURACY: Job.val_accuracy,
    Objective.LOSS: Job.loss,
    Objective.VAL_LOSS: Job.val_loss,
}


def detail(session: Session, sweep_id: UUID, objective: Objective) -> SweepDetail:
    """Return a sweep with its jobs, best first.

    Raises:
        SweepNotFound: there is no such sweep.
    """
    row = session.get(SweepRow, sweep_id)
    if row is None:
        raise SweepNotFound(f"there is no sweep {sweep_id}")
    [sweep] = _describe(session, [row], objective)
    results = _results(session, row, objective)
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
    """
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
            objective=objective,
            best=_result(row, best[row.id]) if row.id in best else None,
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
    """Return the best job of each sweep in which a job has a value; read from a covering index."""
    of_sweep = (Job.sweep_id == SweepRow.id, _COLUMNS[objective].is_not(None))
    first = select(Job.id).where(*of_sweep).order_by(*_best_first(objective)).limit(1).scalar_subquery()
    best = select(first).where(SweepRow.id.in_(ids)).scalar_subquery()
    rows = session.execute(_jobs(objective).add_columns(Job.sweep_id).where(Job.id.in_(best)))
    return {row.sweep_id: row for row in rows}


def _results(session: Session, row: SweepRow, objective: Objective) -> tuple[SweepResult, ...]:
    of_sweep = _jobs(objective).where(Job.sweep_id == row.id)
    return tuple(_result(row, job) for job in session.execute(of_sweep.order_by(*_best_first(objective))))


def _jobs(objective: Objective) -> Select[Any]:
    return select(Job.id, Job.state, Job.spec, _COLUMNS[objective].label("value"))


def _best_first(objective: Objective) -> tuple[Any, ...]:
    value = _COLUMNS[objective]
    return (value if objective.is_minimized else value.desc()).nulls_last(), Job.id


def _result(row: SweepRow, job: Row[Any]) -> SweepResult:
    return SweepResult(
        job_id=job.id,
        state=job.state,
        parameters={name: job.spec[name] for name in row.request["parameters"]},
        value=job.value,
    )
