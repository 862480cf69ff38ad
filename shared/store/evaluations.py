"""Reads of the results of jobs: values, results of each class, predictions of each image."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import numpy as np
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import schemas
from shared.db.postgresql import BINARY
from shared.db.tables import Job, Result
from shared.errors import EvaluationNotFound, NotReady, PredictionsNotStored
from shared.formats.classification import TYPE, Classified, Mask
from shared.formats.predictions import PredictedImages
from shared.lifecycle import TERMINAL, JobState
from shared.store import job_queries

ImageKey = tuple[Annotated[int, Field(ge=0, le=2**31 - 1)]]
"""The sort key of an image: its index."""


def get(session: Session, job_id: UUID, *, misclassified: bool = True) -> schemas.JobEvaluation:
    """Return a job's evaluation, with or without its misclassified images.

    Raises:
        JobNotFound: there is no such job.
        NotReady: it has no evaluation yet, or has ended before it had one.
        EvaluationNotFound: it has succeeded without one.
    """
    row = _row(session, job_id)
    images = _images(session, row)
    return schemas.JobEvaluation(
        job_id=job_id,
        model_id=session.scalar(select(Job.model_id).where(Job.id == job_id)),
        type=row.type,
        values=row.values,
        dataset=row.dataset,
        size=row.size,
        threshold=row.threshold,
        loss=row.loss,
        accuracy=row.accuracy,
        rejected=sum(result.rejected for result in row.per_class),
        has_predictions=images is not None,
        per_class=tuple(map(schemas.ClassResult.model_validate, row.per_class)),
        **({} if images is None else Classified(images, row.threshold).details(misclassified=misclassified)),
    )


def _row(session: Session, job_id: UUID) -> Result:
    row = session.get(Result, job_id)
    if row is not None:
        return row
    state = job_queries.state(session, job_id)
    if state is JobState.SUCCEEDED:
        raise EvaluationNotFound(f"job {job_id} has succeeded without an evaluation")
    yet = "" if state in TERMINAL else " yet"
    raise NotReady(
        f"job {job_id} has no evaluation{yet}: it is {state}, and only a job that succeeds has one"
    )


def _images(session: Session, row: Result) -> PredictedImages | None:
    """Return the predictions of an evaluation's images, or None if they are not stored."""
    if row.type != TYPE or not row.size:
        return None
    stored = select(Result.body).where(Result.job_id == row.job_id)
    body = session.scalar(stored.execution_options(**{BINARY: True}))
    return None if body is None else PredictedImages.from_bytes(body, row.size)


@dataclass(frozen=True)
class PredictionFilter:
    """A filter of an evaluation's images, which must match each field that is not None.

    Attributes:
        label: the true class.
        predicted: the most probable class.
        correct: whether the two classes are equal, whatever the evaluation's threshold is.
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
    """Return the predictions of a job's evaluation for each image, in the order of their indices.

    Raises:
        JobNotFound: there is no such job.
        NotReady: it has no evaluation yet, or has ended before it had one.
        EvaluationNotFound: it has succeeded without one.
        PredictionsNotStored: its evaluation has no predictions of single images.
    """
    return only.apply(_classified(session, job_id)[0].images)


def _classified(session: Session, job_id: UUID) -> tuple[Classified, Result]:
    row = _row(session, job_id)
    images = _images(session, row)
    if images is None:
        raise PredictionsNotStored(f"the evaluation of job {job_id} has no predictions of single images")
    return Classified(images, row.threshold), row


def page_of_predictions(
    session: Session,
    job_id: UUID,
    only: PredictionFilter,
    *,
    after: ImageKey | None = None,
    limit: int,
) -> list[tuple[ImageKey, schemas.ImagePrediction]]:
    """Return up to `limit` predictions of a job's evaluation with their keys, in the order of their indices.

    Args:
        after: the key of the last image of the previous page; None for the first page.

    Raises:
        JobNotFound, NotReady, EvaluationNotFound, PredictionsNotStored: as in `predictions`.
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
) -> tuple[str | None, list[tuple[ImageKey, schemas.Misclassified]]]:
    """Return up to `limit` images that a job's evaluation misclassified, with their keys, in order of index.

    Args:
        after: the key of the last image of the previous page; None for the first page.
        label: only images of this class.
        predicted: only images predicted to be of this class.

    Returns:
        The name of the dataset that has the images, and the images.

    Raises:
        JobNotFound, NotReady, EvaluationNotFound, PredictionsNotStored: as in `predictions`.
    """
    classified, row = _classified(session, job_id)
    images = classified.images
    chosen: Mask = images.indices > (-1 if after is None else after[0])
    if label is not None:
        chosen &= images.labels == label
    if predicted is not None:
        chosen &= classified.predicted == predicted
    found = classified.misclassified(chosen, limit=limit)
    return row.dataset, [((image.index,), image) for image in found]
