"""Reads of recorded metrics as arrays, fast enough for a million steps."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session

from shared.db.postgresql import BINARY
from shared.db.tables import IS_COMPLETE, STEP_COUNT, Epoch, Job
from shared.formats.epochs import StepValues, count_steps, unpack_steps
from shared.schemas import Resolution
from shared.store import job_queries, metric_names

MetricArrays = dict[str, NDArray[np.float64]]
"""For each metric an array of shape (epochs,) or (steps,), in order; NaN where it has no finite value."""

_ALL_STEPS = 2**31  # more steps than any job has


def read(
    session: Session,
    job_id: UUID,
    resolution: Resolution,
    names: Collection[str] = (),
    *,
    first: int = 0,
    last: int | None = None,
) -> MetricArrays:
    """Return a job's recorded metrics, all or those of `names` that exist at this resolution.

    Arrays by step include the steps so far of the epoch that is being trained, or that was being trained when
    the last attempt ended.

    Args:
        first: the epoch or step, by the resolution, at which the arrays begin. Earlier values are not read.
        last: the epoch or step at which the arrays end; None for the last that is recorded.

    Raises:
        JobNotFound: there is no such job.
    """
    job_queries.state(session, job_id)  # raises JobNotFound
    if resolution is Resolution.EPOCH:
        return _by_epoch(session, job_id, names, first, last)
    return _by_step(session, job_id, names, first, last)


def require(session: Session, job_ids: Sequence[UUID], names: Collection[str]) -> None:
    """Raise UnknownMetric if the jobs have recorded metrics, but none under one of these names."""
    of_jobs = session.scalars(select(Job.last_values).where(Job.id.in_(job_ids)))
    known = {name for values in of_jobs for name in values}
    if not known.issuperset(names):
        first = select(Epoch.steps).where(Epoch.job_id.in_(job_ids), Epoch.epoch == 0, IS_COMPLETE)
        known |= {name for steps in session.scalars(first) for name in unpack_steps(steps)}
        for name in names:
            if known and name not in known:
                raise metric_names.unknown(name, sorted(known))


def names_of_steps(session: Session, job_id: UUID) -> list[str]:
    """Return the names of the metrics that a job has recorded for each step, as of its first epoch."""
    first = select(Epoch.steps).where(Epoch.job_id == job_id, Epoch.epoch == 0, _is_of_last_attempt(job_id))
    return list(unpack_steps(session.scalar(first) or b""))


def _by_epoch(
    session: Session, job_id: UUID, names: Collection[str], first: int, last: int | None
) -> MetricArrays:
    values = select(Epoch.values).where(IS_COMPLETE)
    epochs = session.scalars(_in_order(values, job_id, first, last)).all()
    # the names for an empty range are those of the job's first epoch
    sample = epochs or session.scalars(_in_order(values, job_id, 0, 0)).all()
    return {
        name: np.array([values.get(name) for values in epochs], np.float64) for name in _found(sample, names)
    }


def _by_step(
    session: Session, job_id: UUID, names: Collection[str], first: int, last: int | None
) -> MetricArrays:
    steps = _steps_per_epoch(session, job_id) if first or last is not None else 1
    first_epoch = first // steps
    last_epoch = None if last is None else last // steps
    epochs = _in_order(
        select(Epoch.steps).where(_is_of_last_attempt(job_id)), job_id, first_epoch, last_epoch
    )
    packed = session.scalars(epochs.execution_options(**{BINARY: True})).all()
    rows = [(unpack_steps(content), count_steps(content)) for content in packed]
    kept = slice(first - first_epoch * steps, None if last is None else last + 1 - first_epoch * steps)
    sample: list[Collection[str]] = [values for values, _ in rows] or [names_of_steps(session, job_id)]
    return {
        name: np.concatenate([np.empty(0), *(_steps(values, name, count) for values, count in rows)])[kept]
        for name in _found(sample, names)
    }


def _steps(values: StepValues, name: str, count: int) -> NDArray[np.float64]:
    return values[name] if name in values else np.full(count, np.nan)


def _found(epochs: Iterable[Collection[str]], names: Collection[str]) -> list[str]:
    """Return the names that any of the epochs has, in their order: all of them, or only those in `names`."""
    found = dict.fromkeys(name for epoch in epochs for name in epoch)
    return [name for name in found if not names or name in names]


def _in_order(
    statement: Select[*tuple[Any, ...]], job_id: UUID, first: int, last: int | None
) -> Select[*tuple[Any, ...]]:
    """Restrict a SELECT to a job's epochs from `first` to `last`."""
    statement = statement.where(Epoch.job_id == job_id).order_by(Epoch.epoch)
    if first:
        statement = statement.where(Epoch.epoch >= first)
    return statement if last is None else statement.where(Epoch.epoch <= last)


def _is_of_last_attempt(job_id: UUID) -> ColumnElement[bool]:
    """Return SQL for whether an epoch is complete, or was begun by the job's last attempt."""
    last_attempt = select(Job.attempt).where(Job.id == job_id).scalar_subquery()
    return or_(IS_COMPLETE, Epoch.attempt == last_attempt)


def _steps_per_epoch(session: Session, job_id: UUID) -> int:
    """Return the number of steps of a job's first epoch, at least 1; `_ALL_STEPS` if it is not complete."""
    first = select(STEP_COUNT).where(Epoch.job_id == job_id, Epoch.epoch == 0, IS_COMPLETE)
    count = session.scalar(first)
    return _ALL_STEPS if count is None else count_steps(count) or 1
