"""Reads of the weights that jobs keep after their epochs."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.postgresql import BINARY
from shared.db.tables import EpochWeights, Job
from shared.errors import JobNotFound, WeightsNotFound
from shared.formats.weights import byte_count, offsets
from shared.lifecycle import JobKind
from shared.schemas import KeptArray, KeptWeights, TrainSpec


def kept(session: Session, job_id: UUID) -> KeptWeights:
    """Return which epochs' weights a job has kept so far, and what their bytes are.

    Raises:
        JobNotFound: there is no such job.
    """
    spec = _spec(session, job_id)
    if spec is None:
        return KeptWeights(keep_weights=False, model=None, size=0, arrays=(), epochs=())
    epochs = select(EpochWeights.epoch).where(EpochWeights.job_id == job_id).order_by(EpochWeights.epoch)
    return KeptWeights(
        keep_weights=spec.keep_weights,
        model=spec.model,
        size=byte_count(spec.model),
        arrays=tuple(
            KeptArray(name=array.name, shape=array.shape, offset=offset)
            for array, offset in offsets(spec.model)
        ),
        epochs=tuple(session.scalars(epochs)),
    )


def after_epoch(session: Session, job_id: UUID, epoch: int) -> bytes:
    """Return the weights after an epoch of a job, counted from 0.

    Raises:
        JobNotFound: there is no such job.
        WeightsNotFound: it has kept none after this epoch.
    """
    chosen = select(EpochWeights.content).where(EpochWeights.job_id == job_id, EpochWeights.epoch == epoch)
    content = session.scalar(chosen.execution_options(**{BINARY: True}))
    if content is not None:
        return content
    spec = _spec(session, job_id)
    if spec is not None and spec.keep_weights:
        raise WeightsNotFound(f"job {job_id} has no epoch {epoch}, or has not recorded it yet")
    raise WeightsNotFound(f"job {job_id} keeps no weights: submit one with `keep_weights`")


def _spec(session: Session, job_id: UUID) -> TrainSpec | None:
    """Return the spec of a training job; None for an evaluation job."""
    row = session.execute(select(Job.kind, Job.spec).where(Job.id == job_id)).one_or_none()
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return TrainSpec.model_validate(row.spec) if row.kind == JobKind.TRAIN else None
