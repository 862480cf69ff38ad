"""Writes of what an attempt produces: epochs, checkpoints, models, evaluations.

They are only called inside the fenced transactions of `shared.store.attempts`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from uuid import UUID

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.db.bulk_insert import insert_rows
from shared.db.clock import Now
from shared.db.prepared import Prepared
from shared.db.upserts import upsert
from shared.formats.epochs import EpochMetrics

_CLASS_RESULTS, _CONFUSION, _MISCLASSIFIED = (
    tables.Base.metadata.tables[mapped.__tablename__]
    for mapped in (tables.ClassResult, tables.Confusion, tables.Misclassified)
)
# rows with bytes, which no JSON document of `insert_rows` has
_INSERT_EPOCHS, _INSERT_EPOCH_WEIGHTS, _INSERT_MODEL_FILES, _INSERT_EVALUATION = (
    Prepared(insert(tables.Base.metadata.tables[mapped.__tablename__]))
    for mapped in (tables.Epoch, tables.EpochWeights, tables.ModelFile, tables.Evaluation)
)


@dataclass(frozen=True)
class StoredCheckpoint:
    """The state from which a training job resumes; its checksum has been verified."""

    next_epoch: int
    state: bytes


@dataclass(frozen=True)
class NewModel:
    """A trained model that is to be stored.

    Attributes:
        id: a UUIDv7 drawn by the caller.
        spec: the specification that it was trained with.
        files: the model in each file format.
    """

    id: UUID
    spec: schemas.TrainSpec
    layers: tuple[schemas.LayerSummary, ...]
    weights_sha256: str
    files: dict[schemas.ModelFormat, bytes]
    evaluation: schemas.EvaluationResult


def add_epochs(session: Session, job_id: UUID, attempt: int, epochs: Sequence[EpochMetrics]) -> None:
    """Insert the rows of recorded epochs."""
    rows = [
        {
            "job_id": job_id,
            "attempt": attempt,
            "epoch": each.epoch,
            "seconds": each.seconds,
            "values": each.values,
            "steps": each.steps,
        }
        for each in epochs
    ]
    _INSERT_EPOCHS.execute_many(session, rows)


def add_weights(session: Session, job_id: UUID, weights: Mapping[int, bytes]) -> None:
    """Insert the weights after recorded epochs, by epoch."""
    rows = [{"job_id": job_id, "epoch": epoch, "content": content} for epoch, content in weights.items()]
    _INSERT_EPOCH_WEIGHTS.execute_many(session, rows)


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


def add_model(session: Session, job_id: UUID, model: NewModel, *, now: Now) -> None:
    """Insert a model and its files."""
    row = {
        "id": model.id,
        "job_id": job_id,
        "dataset": model.spec.dataset,
        "spec": model.spec.model_dump(mode="json"),
        "parameters": sum(layer.parameters for layer in model.layers),
        "layers": [layer.model_dump(mode="json") for layer in model.layers],
        "weights_sha256": model.weights_sha256,
        "accuracy": model.evaluation.accuracy,
    }
    files = [
        {"model_id": model.id, "format": format_, "sha256": sha256(content).hexdigest(), "content": content}
        for format_, content in model.files.items()
    ]
    _insert_model(now).execute(session, row)
    _INSERT_MODEL_FILES.execute_many(session, files)


@lru_cache
def _insert_model(now: Now) -> Prepared:
    return Prepared(insert(tables.Base.metadata.tables["models"]).values(created_at=now()))


def add_evaluation(
    session: Session, job_id: UUID, model_id: UUID, dataset: str, evaluation: schemas.EvaluationResult
) -> None:
    """Insert an evaluation: its per-class results, confusion matrix, misclassified images and predictions."""
    row = evaluation.model_dump(include={"size", "threshold", "loss", "accuracy", "rejected"})
    confusion = [
        {"label": label, "predicted": predicted, "count": count}
        for label, counts in enumerate(evaluation.confusion_matrix)
        for predicted, count in enumerate(counts)
        if count
    ]
    row.update(job_id=job_id, model_id=model_id, dataset=dataset, predictions=evaluation.predictions)
    _INSERT_EVALUATION.execute(session, row)
    for table, rows in (
        (_CLASS_RESULTS, map(dict, evaluation.per_class)),
        (_CONFUSION, confusion),
        (_MISCLASSIFIED, map(dict, evaluation.misclassified)),
    ):
        insert_rows(session, table, [{"job_id": job_id, **row} for row in rows])
