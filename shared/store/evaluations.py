"""Evaluations as they are read: the per-class table, the confusion matrix, the misclassified images."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.errors import NotReady


def get(session: Session, job_id: UUID, *, misclassified: bool = True) -> schemas.JobEvaluation:
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
