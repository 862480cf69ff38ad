"""Evaluations of models: their results, and their prediction for each test image."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from api.deps import IfNoneMatch, JobId, ServicesDep
from api.http.auth import READ
from api.http.files import BINARY, documented_file, file_response
from api.http.paging import Cursors, LongPageDep, PageDep
from api.http.problems import documented
from api.http.rendered import KeepDep, keep_finished
from api.prediction.mnist_images import data_url
from api.services import Services
from shared.datasets import catalog
from shared.errors import (
    DatasetNotFound,
    DataUnavailable,
    EvaluationNotFound,
    InvalidCursor,
    JobNotFound,
    NotReady,
    PredictionsNotStored,
)
from shared.schemas import ImagePrediction, JobEvaluation, MisclassifiedImage, Page
from shared.store import evaluations, job_queries

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[READ])

_CURSORS = Cursors("misclassified images", evaluations.ImageKey)
_MAX_INT = 2**31 - 1  # PostgreSQL's greatest integer
Label = Annotated[int | None, Query(ge=0, le=_MAX_INT)]

_PREDICTIONS = Cursors("predictions", evaluations.ImageKey)


class PredictionFormat(StrEnum):
    """The format of predictions."""

    JSON = "json"
    BINARY = "binary"


_PREDICTIONS_RESPONSES: dict[int | str, dict[str, Any]] = {
    **documented(JobNotFound, NotReady, EvaluationNotFound, PredictionsNotStored, InvalidCursor),
    **documented_file("The predictions"),
}


@router.get(
    "/{job_id:id}/misclassified",
    responses=documented(
        JobNotFound, NotReady, EvaluationNotFound, PredictionsNotStored, DataUnavailable, InvalidCursor
    ),
)
def list_misclassified(
    services: ServicesDep, job_id: JobId, query: PageDep, label: Label = None, predicted: Label = None
) -> Page[MisclassifiedImage]:
    """List the misclassified test images: by default all, else those of the given classes."""
    after = _CURSORS.parse(query.cursor)

    limit = query.limit + 1
    read = partial(evaluations.misclassified, job_id=job_id, after=after, limit=limit)
    dataset, rows = services.database.read(partial(read, label=label, predicted=predicted))
    image_of = _images(services, dataset if rows else None)
    images = [(key, MisclassifiedImage(**dict(row), image=image_of(row.index))) for key, row in rows]
    return _CURSORS.page(images, query.limit)


def _images(services: Services, dataset: str | None) -> Callable[[int], str | None]:
    """Return a function from an index to a dataset's test image, or to None without the dataset."""
    try:
        pixels = catalog.cached(dataset or "", services.settings).test_images
    except DatasetNotFound:
        return lambda _: None
    return lambda index: data_url(pixels[index]) if index < len(pixels) else None


@router.get("/{job_id:id}/evaluation", responses=documented(JobNotFound, NotReady, EvaluationNotFound))
def get_evaluation(services: ServicesDep, keep: KeepDep, job_id: JobId) -> JobEvaluation:
    """Get the results of a job that has succeeded: values and, for a classification, results by class."""

    def read(session: Session) -> tuple[JobEvaluation, int | None]:
        return evaluations.get(session, job_id), job_queries.final_version(session, job_id)

    evaluation, version = services.database.read(read)
    keep_finished(keep, job_id, version)
    return evaluation


@router.get(
    "/{job_id:id}/evaluation/predictions",
    response_model=Page[ImagePrediction],
    responses=_PREDICTIONS_RESPONSES,
)
def list_predictions(
    services: ServicesDep,
    job_id: JobId,
    query: LongPageDep,
    label: Label = None,
    predicted: Label = None,
    correct: Annotated[
        bool | None, Query(description="Whether `predicted` is `label`, whatever the threshold is.")
    ] = None,
    format_: Annotated[
        PredictionFormat,
        Query(
            alias="format",
            description="`binary` has no pages: the probabilities of all matching images, (n, classes) as "
            "float32; then their indices, (n,) as uint32; then their labels, (n,) as uint8, of more than 256 "
            "classes as uint16; little-endian.",
        ),
    ] = PredictionFormat.JSON,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """List an evaluation's prediction for each test image, by index; filters select some of the images."""
    only = evaluations.PredictionFilter(label, predicted, correct)
    if format_ is PredictionFormat.BINARY:
        images = services.database.read(lambda session: evaluations.predictions(session, job_id, only))
        return file_response(images.to_bytes(), if_none_match, media_type=BINARY, is_lasting=True)
    rows = partial(evaluations.page_of_predictions, job_id=job_id, only=only)
    page = _PREDICTIONS.read(services.database, query, rows)
    return file_response(page.model_dump_json().encode(), if_none_match, media_type="application/json")
