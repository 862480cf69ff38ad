"""Reads of recorded metrics as arrays, fast enough for a million steps."""

from collections.abc import Collection
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import LargeBinary, select, type_coerce
from sqlalchemy.orm import Session

from shared.db.engine import BINARY
from shared.db.tables import Epoch
from shared.schemas import MetricName, Resolution
from shared.store import job_queries

MetricArrays = dict[MetricName, NDArray[np.float64]]
"""For each metric an array of shape (epochs,) or (steps,), in order."""

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
    """Return a job's recorded metrics, those of `names` that exist at this resolution; arrays may be empty.

    Raises:
        JobNotFound: there is no such job.
    """
    job_queries.state(session, job_id)  # raises JobNotFound
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
    # as raw bytes: decoding each value to a Python float would dominate the cost
    columns = [type_coerce(_BATCHES[name], LargeBinary) for name in names]
    epochs = select(*columns).where(Epoch.job_id == job_id).order_by(Epoch.epoch)
    rows = session.execute(epochs.execution_options(**{BINARY: True})).all()
    return {
        name: np.frombuffer(b"".join(row[place] for row in rows), "<f8") for place, name in enumerate(names)
    }
