"""Reads of evaluations: the per-class results, the confusion matrix, the misclassified images."""

from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.errors import NotReady
from shared.store import job_queries

ImageKey = tuple[Annotated[int, Field(ge=0, le=2**31 - 1)]]
"""The sort key of a misclassified image: its index."""


def get(session: Session, job_id: UUID, *, misclassified: bool = True) -> schemas.JobEvaluation:
    """Return a job's evaluation, with or without its misclassified images.

    Raises:
        JobNotFound: there is no such job.
        NotReady: it has no evaluation, or not yet.
    """
    row = _row(session, job_id)
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
        confusion_matrix=tuple(tuple(counts.get((i, j), 0) for j in range(size)) for i in range(size)),
        misclassified=tuple(map(schemas.Misclassified.model_validate, row.misclassified))
        if misclassified
        else (),
    )


def dataset(session: Session, job_id: UUID) -> str:
    """Return the name of the dataset that a job's model was evaluated on.

    Raises:
        JobNotFound: there is no such job.
        NotReady: it has no evaluation, or not yet.
    """
    return _row(session, job_id).dataset


def _row(session: Session, job_id: UUID) -> tables.Evaluation:
    row = session.get(tables.Evaluation, job_id)
    if row is None:
        job_queries.state(session, job_id)  # raises JobNotFound
        raise NotReady(f"job {job_id} has no evaluation: only a job that has succeeded has one")
    return row


def misclassified(
    session: Session,
    job_id: UUID,
    *,
    after: ImageKey | None = None,
    limit: int,
    label: int | None = None,
    predicted: int | None = None,
) -> list[tuple[ImageKey, schemas.Misclassified]]:
    """Return up to `limit` images that a job's evaluation misclassified, with their keys, by index.

    Args:
        after: the key of the last image of the page before; None: from the beginning.
        label: only images of this class.
        predicted: only images predicted to be of this class.
    """
    table = tables.Misclassified
    statement = select(table).where(table.job_id == job_id).order_by(table.index).limit(limit)
    if after is not None:
        statement = statement.where(table.index > after[0])
    if label is not None:
        statement = statement.where(table.label == label)
    if predicted is not None:
        statement = statement.where(table.predicted == predicted)
    rows = session.scalars(statement)
    return [((row.index,), schemas.Misclassified.model_validate(row)) for row in rows]
