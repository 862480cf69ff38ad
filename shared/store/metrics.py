"""Reads of recorded metrics as arrays, fast enough for a million steps."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import LargeBinary, Select, func, select, type_coerce
from sqlalchemy.orm import Session

from shared.db.postgresql import BINARY
from shared.db.tables import Epoch, Job
from shared.formats.epochs import StepValues, count_steps, unpack_steps
from shared.schemas import Resolution
from shared.store import job_queries, metric_names

MetricArrays = dict[str, NDArray[np.float64]]
"""For each metric an array of shape (epochs,) or (steps,), in order; NaN where it has no finite value."""

_COUNT_BYTES = 4  # of the steps of an epoch, which say how many these are


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

    Args:
        first: the epoch or step, by the resolution, at which the arrays begin. What is before it is not read.
        last: the one at which they end; None: the last that is recorded.

    Raises:
        JobNotFound: there is no such job.
    """
    job_queries.state(session, job_id)  # raises JobNotFound
    if resolution is Resolution.EPOCH:
        return _by_epoch(session, job_id, names, first, last)
    return _by_step(session, job_id, names, first, last)


def require(session: Session, job_ids: Sequence[UUID], names: Collection[str]) -> None:
    """Raise UnknownMetric if the jobs have recorded metrics, and none of one of these names."""
    of_jobs = session.scalars(select(Job.last_values).where(Job.id.in_(job_ids)))
    known = {name for values in of_jobs for name in values}
    if not known.issuperset(names):
        first = select(Epoch.steps).where(Epoch.job_id.in_(job_ids), Epoch.epoch == 0)
        known |= {name for steps in session.scalars(first) for name in unpack_steps(steps)}
        for name in names:
            if known and name not in known:
                raise metric_names.unknown(name, sorted(known))


def names_of_steps(session: Session, job_id: UUID) -> list[str]:
    """Return the names of the metrics that a job has recorded for each step, as of its first epoch."""
    steps = session.scalar(select(Epoch.steps).where(Epoch.job_id == job_id, Epoch.epoch == 0))
    return list(unpack_steps(steps or b""))


def _by_epoch(
    session: Session, job_id: UUID, names: Collection[str], first: int, last: int | None
) -> MetricArrays:
    epochs = session.scalars(_in_order(select(Epoch.values), job_id, first, last)).all()
    # an empty range has the metrics of the job
    sample = epochs or session.scalars(_in_order(select(Epoch.values), job_id, 0, 0)).all()
    return {
        name: np.array([values.get(name) for values in epochs], np.float64) for name in _found(sample, names)
    }


def _by_step(
    session: Session, job_id: UUID, names: Collection[str], first: int, last: int | None
) -> MetricArrays:
    steps = _steps_per_epoch(session, job_id) if first or last is not None else 1
    first_epoch = first // steps
    last_epoch = None if last is None else last // steps
    epochs = _in_order(select(Epoch.steps), job_id, first_epoch, last_epoch)
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
    """Return the names that some of the epochs have, all or those of `names`, in their order."""
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


def _steps_per_epoch(session: Session, job_id: UUID) -> int:
    """Return how many steps each epoch of a job has, by its first one; 1 if that has none."""
    count = type_coerce(func.substr(Epoch.steps, 1, _COUNT_BYTES), LargeBinary)
    of_first = session.scalar(select(count).where(Epoch.job_id == job_id, Epoch.epoch == 0))
    return count_steps(of_first or b"") or 1
