"""What attempts produce: epochs, checkpoints, models and evaluations, written and read back.

Writing happens inside the fenced transactions of `shared.attempts`, never on its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from shared import schemas, tables
from shared.clock import Now
from shared.db import upsert
from shared.errors import ModelNotFound, NotReady


@dataclass(frozen=True)
class StoredCheckpoint:
    """Where a training job goes on from; its checksum was right."""

    next_epoch: int
    state: bytes


@dataclass(frozen=True)
class NewModel:
    """A trained model, to be stored.

    Attributes:
        id: drawn by the caller (UUIDv7).
        spec: what it was trained with.
        files: its bytes in each format.
    """

    id: UUID
    spec: schemas.TrainSpec
    layers: tuple[schemas.LayerSummary, ...]
    weights_sha256: str
    files: dict[schemas.ModelFormat, bytes]
    evaluation: schemas.Evaluation


def add_epochs(session: Session, job_id: UUID, attempt: int, epochs: Sequence[schemas.EpochMetrics]) -> None:
    """Add epoch rows."""
    rows = [{"job_id": job_id, "attempt": attempt, **epoch.model_dump(mode="json")} for epoch in epochs]
    session.execute(insert(tables.Epoch), rows)


def put_checkpoint(session: Session, job_id: UUID, next_epoch: int, state: bytes) -> None:
    """Replace a job's checkpoint."""
    values = {"job_id": job_id, "next_epoch": next_epoch, "state": state, "sha256": sha256(state).hexdigest()}
    upsert(session, tables.Checkpoint, values)


def checkpoint(session: Session, job_id: UUID) -> StoredCheckpoint | None:
    """A job's checkpoint; None if there is none or its bytes are not those that were written."""
    row = session.get(tables.Checkpoint, job_id)
    if row is None or sha256(row.state).hexdigest() != row.sha256:
        return None
    return StoredCheckpoint(row.next_epoch, row.state)


def add_model(session: Session, job_id: UUID, model: NewModel, *, now: Now) -> None:
    """Add a model and its files."""
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
    """Add an evaluation with its per-class results, confusion matrix and misclassified images."""
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


def epochs(session: Session, job_id: UUID) -> list[schemas.EpochMetrics]:
    """A job's recorded epochs, in order."""
    rows = session.scalars(
        select(tables.Epoch).where(tables.Epoch.job_id == job_id).order_by(tables.Epoch.epoch)
    )
    return [schemas.EpochMetrics.model_validate(row) for row in rows]


def evaluation(session: Session, job_id: UUID, *, misclassified: bool = True) -> schemas.JobEvaluation:
    """A job's evaluation; its misclassified images may be left out.

    Raises:
        NotReady: it has none, or none yet.
    """
    row = session.get(tables.Evaluation, job_id)
    if row is None:
        raise NotReady(f"job {job_id} has no evaluation: it is made at the end of a job that succeeds")
    size = len(row.per_class)
    counts = {(cell.label, cell.predicted): cell.count for cell in row.confusion}
    return schemas.JobEvaluation(
        job_id=row.job_id,
        model_id=row.model_id,
        dataset=row.dataset,
        size=row.size,
        threshold=row.threshold,
        loss=row.loss,
        accuracy=row.accuracy,
        rejected=row.rejected,
        per_class=tuple(schemas.ClassResult.model_validate(result) for result in row.per_class),
        confusion_matrix=tuple(tuple(counts[i, j] for j in range(size)) for i in range(size)),
        misclassified=tuple(
            schemas.Misclassified.model_validate(image)
            for image in (row.misclassified if misclassified else ())
        ),
    )


def misclassified(
    session: Session,
    job_id: UUID,
    *,
    limit: int,
    after: int | None = None,
    label: int | None = None,
    predicted: int | None = None,
) -> list[schemas.Misclassified]:
    """Images that an evaluation got wrong, by their index.

    Args:
        limit: how many at most.
        after: only those with a greater index.
        label: only those of this class.
        predicted: only those that were taken for this class.
    """
    table = tables.Misclassified
    statement = select(table).where(table.job_id == job_id).order_by(table.index).limit(limit)
    if after is not None:
        statement = statement.where(table.index > after)
    if label is not None:
        statement = statement.where(table.label == label)
    if predicted is not None:
        statement = statement.where(table.predicted == predicted)
    return [schemas.Misclassified.model_validate(row) for row in session.scalars(statement)]


def model(session: Session, model_id: schemas.ModelReference) -> schemas.ModelSummary:
    """A model's description.

    Raises:
        ModelNotFound: there is no such model.
    """
    return summary(find_model(session, model_id))


def model_spec(session: Session, model_id: schemas.ModelReference) -> schemas.TrainSpec:
    """What a model was trained with.

    Raises:
        ModelNotFound: there is no such model.
    """
    return schemas.TrainSpec.model_validate(find_model(session, model_id).spec)


def model_file(
    session: Session, model_id: schemas.ModelReference, format_: schemas.ModelFormat
) -> tables.ModelFile:
    """A model's bytes in one format.

    Raises:
        ModelNotFound: there is no such model.
    """
    return session.get_one(tables.ModelFile, (find_model(session, model_id).id, format_))


def find_model(session: Session, reference: schemas.ModelReference) -> tables.Model:
    """The model with that id or alias.

    Raises:
        ModelNotFound: there is none, or it was deleted.
    """
    if isinstance(reference, UUID):
        row = session.get(tables.Model, reference)
    else:
        named = select(tables.ModelAlias.model_id).where(tables.ModelAlias.alias == reference)
        row = session.scalar(select(tables.Model).where(tables.Model.id == named.scalar_subquery()))
    if row is None or row.deleted_at is not None:
        raise ModelNotFound(f"there is no model {reference}: GET /v1/models lists the models")
    return row


def summary(row: tables.Model) -> schemas.ModelSummary:
    """A stored model as the API shows it."""
    spec = schemas.TrainSpec.model_validate(row.spec)
    return schemas.ModelSummary(
        id=row.id,
        job_id=row.job_id,
        dataset=row.dataset,
        kind=spec.model,
        parameters=row.parameters,
        layers=tuple(schemas.LayerSummary.model_validate(layer) for layer in row.layers),
        weights_sha256=row.weights_sha256,
        accuracy=row.accuracy,
        created_at=row.created_at,
        alias=row.alias.alias if row.alias else None,
        description=row.description,
    )
