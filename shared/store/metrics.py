"""Reads of recorded metrics as arrays, fast enough for a million steps."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Integer, LargeBinary, Select, func, select, type_coerce
from sqlalchemy.orm import Session

from shared.db.postgresql import BINARY
from shared.db.tables import Epoch
from shared.schemas import MetricName, Resolution
from shared.store import job_queries

MetricArrays = dict[MetricName, NDArray[np.float64]]
"""For each metric an array of shape (epochs,) or (steps,), in order."""

_BYTES = 8  # of a value

_BATCHES = {MetricName.LOSS: Epoch.batch_loss, MetricName.ACCURACY: Epoch.batch_accuracy}
_EPOCHS = {
    MetricName.LOSS: Epoch.loss,
    MetricName.ACCURACY: Epoch.accuracy,
    MetricName.VAL_LOSS: Epoch.val_loss,
    MetricName.VAL_ACCURACY: Epoch.val_accuracy,
}


def read(
    session: Session,
    job_id: UUID,
    resolution: Resolution,
    names: Collection[MetricName],
    *,
    first: int = 0,
    last: int | None = None,
) -> MetricArrays:
    """Return a job's recorded metrics, those of `names` that exist at this resolution; arrays may be empty.

    Args:
        first: the epoch or step, by the resolution, at which the arrays begin. What is before it is not read.
        last: the one at which they end; None: the last that is recorded.

    Raises:
        JobNotFound: there is no such job.
    """
    job_queries.state(session, job_id)  # raises JobNotFound
    if resolution is Resolution.EPOCH:
        return _by_epoch(session, job_id, [name for name in _EPOCHS if name in names], first, last)
    return _by_batch(session, job_id, [name for name in _BATCHES if name in names], first, last)


def _by_epoch(
    session: Session, job_id: UUID, names: Collection[MetricName], first: int, last: int | None
) -> MetricArrays:
    if not names:
        return {}
    columns = [_EPOCHS[name] for name in names]
    rows = session.execute(_in_order(select(*columns), job_id, first, last)).all()
    table = np.array([tuple(row) for row in rows], np.float64).reshape(-1, len(columns))
    return dict(zip(names, table.T, strict=True))


def _by_batch(
    session: Session, job_id: UUID, names: Collection[MetricName], first: int, last: int | None
) -> MetricArrays:
    if not names:
        return {}
    steps = _steps_per_epoch(session, job_id) if first or last is not None else 1
    first_epoch = first // steps
    # as raw bytes: decoding each value to a Python float would dominate the cost
    columns = [type_coerce(_BATCHES[name], LargeBinary) for name in names]
    last_epoch = None if last is None else last // steps
    epochs = _in_order(select(*columns), job_id, first_epoch, last_epoch)
    rows = session.execute(epochs.execution_options(**{BINARY: True})).all()
    kept = slice(first - first_epoch * steps, None if last is None else last + 1 - first_epoch * steps)
    return {
        name: np.frombuffer(b"".join(row[place] for row in rows), "<f8")[kept]
        for place, name in enumerate(names)
    }


def _in_order(
    statement: Select[*tuple[Any, ...]], job_id: UUID, first: int, last: int | None
) -> Select[*tuple[Any, ...]]:
    """Restrict a SELECT to a job's epochs from `first` to `last`."""
    statement = statement.where(Epoch.job_id == job_id).order_by(Epoch.epoch)
    if first:
        statement = statement.where(Epoch.epoch >= first)
    return statement if last is None else statement.where(Epoch.epoch <= last)


def _steps_per_epoch(session: Session, job_id: UUID) -> int:
    """Return how many steps each epoch of a job has, by its first one; 1 if that is not recorded."""
    size = func.length(type_coerce(Epoch.batch_loss, LargeBinary), type_=Integer)
    of_first = session.scalar(select(size).where(Epoch.job_id == job_id, Epoch.epoch == 0))
    return (of_first or _BYTES) // _BYTES
