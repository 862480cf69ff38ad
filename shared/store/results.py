"""Writes of what an attempt produces: epochs, checkpoints, models, evaluations.

They are only called inside the fenced transactions of `shared.store.attempts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.db.clock import Now
from shared.db.engine import upsert


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
    evaluation: schemas.Evaluation


def add_epochs(session: Session, job_id: UUID, attempt: int, epochs: Sequence[schemas.EpochMetrics]) -> None:
    """Insert the rows of recorded epochs."""
    rows = [{"job_id": job_id, "attempt": attempt, **epoch.model_dump(mode="json")} for epoch in epochs]
    session.execute(insert(tables.Epoch), rows)


def delete_epochs(session: Session, job_id: UUID) -> None:
    """Delete a job's recorded epochs and its checkpoint."""
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
    session.add(
        tables.Model(
            id=model.id,
            job_id=job_id,
            dataset=model.spec.dataset,
            spec=model.spec.model_dump(mode="json"),
            parameters=sum(layer.parameters for layer in model.layers),
            layers=[layer.model_dump(mode="json") for layer in model.layers],
            weights_sha256=model.weights_sha256,
            accuracy=model.evaluation.accuracy,
            created_at=now(),
        )
    )
    session.flush()
    session.add_all(
        tables.ModelFile(
            model_id=model.id, format=format_, sha256=sha256(content).hexdigest(), content=content
        )
        for format_, content in model.files.items()
    )


def add_evaluation(
    session: Session, job_id: UUID, model_id: UUID, dataset: str, evaluation: schemas.Evaluation
) -> None:
    """Insert an evaluation with its per-class results, confusion matrix and misclassified images."""
    session.add(
        tables.Evaluation(
            job_id=job_id,
            model_id=model_id,
            dataset=dataset,
            **evaluation.model_dump(include={"size", "threshold", "loss", "accuracy", "rejected"}),
            per_class=[tables.ClassResult(**result.model_dump()) for result in evaluation.per_class],
            confusion=[
                tables.Confusion(label=label, predicted=predicted, count=count)
                for label, row in enumerate(evaluation.confusion_matrix)
                for predicted, count in enumerate(row)
            ],
            misclassified=[tables.Misclassified(**image.model_dump()) for image in evaluation.misclassified],
        )
    )
