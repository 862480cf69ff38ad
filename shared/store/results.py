"""Writes of what an attempt records while it runs: epochs, steps, weights, checkpoints.

They are only called inside the fenced transactions of `shared.store.attempts`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from uuid import UUID

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from shared.db import tables
from shared.db.statements import Statement
from shared.db.upserts import replace_if, upsert
from shared.formats.epochs import EpochMetrics

_EPOCHS, _EPOCH_WEIGHTS = (
    tables.Base.metadata.tables[mapped.__tablename__] for mapped in (tables.Epoch, tables.EpochWeights)
)
# rows with bytes, which no JSON document of `insert_rows` has
_INSERT_EPOCH_WEIGHTS = Statement(insert(_EPOCH_WEIGHTS))


@dataclass(frozen=True)
class StoredCheckpoint:
    """The state from which a training job resumes; its checksum has been verified."""

    next_epoch: int
    state: bytes


def put_epochs(
    session: Session,
    job_id: UUID,
    attempt: int,
    epochs: Sequence[EpochMetrics],
    running: EpochMetrics | None = None,
) -> None:
    """Store the rows of recorded epochs, and of the running one; each replaces its own with fewer steps."""
    rows = [
        {
            "job_id": job_id,
            "attempt": attempt,
            "epoch": each.epoch,
            "seconds": each.seconds,
            "values": None if each is running else each.values,
            "steps": each.steps,
        }
        for each in (*epochs, *([running] if running else []))
    ]
    _put_epochs(session.get_bind().dialect.name).execute(session, *rows)


@lru_cache
def _put_epochs(dialect: str) -> Statement:
    # a complete one is never replaced
    return Statement(replace_if(dialect, _EPOCHS, _EPOCHS.c["values"].is_(None)))


def add_weights(session: Session, job_id: UUID, weights: Mapping[int, bytes]) -> None:
    """Insert the weights after recorded epochs, by epoch."""
    rows = [{"job_id": job_id, "epoch": epoch, "content": content} for epoch, content in weights.items()]
    _INSERT_EPOCH_WEIGHTS.execute(session, *rows)


def delete_epochs(session: Session, job_id: UUID) -> None:
    """Delete a job's recorded epochs, with their weights, and its checkpoint."""
    session.execute(delete(tables.Epoch).where(tables.Epoch.job_id == job_id))
    session.execute(delete(tables.Checkpoint).where(tables.Checkpoint.job_id == job_id))


def put_checkpoint(session: Session, job_id: UUID, next_epoch: int, state: bytes) -> None:
    """Replace a job's checkpoint."""
    values = {"job_id": job_id, "next_epoch": next_epoch, "state": state, "sha256": sha256(state).hexdigest()}
    upsert(session, tables.Checkpoint, values)


def checkpoint(session: Session, job_id: UUID) -> StoredCheckpoint | None:
    """Return a job's checkpoint; None if there is none or its checksum is wrong."""
    row = session.get(tables.Checkpoint, job_id)
    if row is None or sha256(row.state).hexdigest() != row.sha256:
        return None
    return StoredCheckpoint(row.next_epoch, row.state)
