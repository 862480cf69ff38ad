"""Reads of evaluations: per-class results, confusion matrix, misclassified images, every prediction."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import numpy as np
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.db.postgresql import BINARY
from shared.errors import NotReady, PredictionsNotStored
from shared.formats.predictions import PredictedImages
from shared.store import job_queries

ImageKey = tuple[Annotated[int, Field(ge=0, le=2**31 - 1)]]
"""The sort key of an image: its index."""


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


@dataclass(frozen=True)
class PredictionFilter:
    """Which images of an evaluation are meant: those that match each field that is not None.

    Attributes:
        label: the true class.
        predicted: the most probable class.
        correct: whether these two are equal, whatever the evaluation's threshold is.
    """

    label: int | None = None
    predicted: int | None = None
    correct: bool | None = None

    def apply(self, images: PredictedImages) -> PredictedImages:
        """Return the images that match."""
        chosen, predicted = np.ones(len(images.labels), bool), images.predicted
        if self.label is not None:
            chosen &= images.labels == self.label
        if self.predicted is not None:
            chosen &= predicted == self.predicted
        if self.correct is not None:
            chosen &= (predicted == images.labels) == self.correct
        return images.where(chosen)


_ALL = PredictionFilter()


def predictions(session: Session, job_id: UUID, only: PredictionFilter = _ALL) -> PredictedImages:
    """Return what a job's evaluation predicted for each image, by index.

    Raises:
        JobNotFound: there is no such job.
        NotReady: it has no evaluation, or not yet.
        PredictionsNotStored: its evaluation was made by a version that did not store them.
    """
    table = tables.Evaluation
    stored = select(table.size, table.predictions).where(table.job_id == job_id)
    row = session.execute(stored.execution_options(**{BINARY: True})).one_or_none()
    if row is None:
        _row(session, job_id)  # raises the reason
        raise AssertionError(f"the evaluation of job {job_id} was read a moment ago")
    if row.predictions is None:
        raise PredictionsNotStored(f"the evaluation of job {job_id} has no predictions of single images")
    return only.apply(PredictedImages.from_bytes(row.predictions, row.size))


def page_of_predictions(
    session: Session,
    job_id: UUID,
    only: PredictionFilter,
    *,
    after: ImageKey | None = None,
    limit: int,
) -> list[tuple[ImageKey, schemas.ImagePrediction]]:
    """Return up to `limit` predictions of a job's evaluation with their keys, by index.

    Args:
        after: the key of the last image of the page before; None: from the beginning.

    Raises:
        JobNotFound, NotReady, PredictionsNotStored: as in `predictions`.
    """
    images = predictions(session, job_id, only)
    first = 0 if after is None else int(np.searchsorted(images.indices, after[0], side="right"))
    page = images.where(slice(first, first + limit))
    rows = (array.tolist() for array in (page.indices, page.labels, page.predicted, page.probabilities))
    return [
        (
            (index,),
            schemas.ImagePrediction(
                index=index,
                label=label,
                predicted=predicted,
                probability=probabilities[predicted],
                probabilities=tuple(probabilities),
            ),
        )
        for index, label, predicted, probabilities in zip(*rows, strict=True)
    ]


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
