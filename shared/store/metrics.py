"""Recorded epochs as arrays: what a curve is drawn from, a million points as quick as ten."""

from collections.abc import Collection
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import LargeBinary, select, type_coerce
from sqlalchemy.orm import Session

from shared.db.engine import BINARY
from shared.db.tables import Epoch, Job
from shared.errors import JobNotFound
from shared.schemas import MetricName, Resolution

MetricArrays = dict[MetricName, NDArray[np.float64]]
"""A value an epoch, or a batch, in order; by name."""

_BATCHES = {MetricName.LOSS: Epoch.batch_loss, MetricName.ACCURACY: Epoch.batch_accuracy}
_EPOCHS = {
    MetricName.LOSS: Epoch.loss,
    MetricName.ACCURACY: Epoch.accuracy,
    MetricName.VAL_LOSS: Epoch.val_loss,
    MetricName.VAL_ACCURACY: Epoch.val_accuracy,
}


def read(
    session: Session, job_id: UUID, resolution: Resolution, names: Collection[MetricName]
) -> MetricArrays:
    """A job's curves so far, of those among `names` that there are at this resolution; empty ones too.

    Raises:
        JobNotFound: there is no such job.
    """
    if session.scalar(select(Job.id).where(Job.id == job_id)) is None:
        raise JobNotFound(f"there is no job {job_id}")
    if resolution is Resolution.EPOCH:
        return _by_epoch(session, job_id, [name for name in _EPOCHS if name in names])
    return _by_batch(session, job_id, [name for name in _BATCHES if name in names])


def _by_epoch(session: Session, job_id: UUID, names: Collection[MetricName]) -> MetricArrays:
    if not names:
        return {}
    columns = [_EPOCHS[name] for name in names]
    rows = session.execute(select(*columns).where(Epoch.job_id == job_id).order_by(Epoch.epoch)).all()
    table = np.array([tuple(row) for row in rows], np.float64).reshape(-1, len(columns))
    return dict(zip(names, table.T, strict=True))


def _by_batch(session: Session, job_id: UUID, names: Collection[MetricName]) -> MetricArrays:
    if not names:
        return {}
    # as bytes: each of a list of Python's numbers costs
    columns = [type_coerce(_BATCHES[name], LargeBinary) for name in names]
    epochs = select(*columns).where(Epoch.job_id == job_id).order_by(Epoch.epoch)
    rows = session.execute(epochs.execution_options(**{BINARY: True})).all()
    return {
        name: np.frombuffer(b"".join(row[place] for row in rows), "<f8") for place, name in enumerate(names)
    }
