"""Evaluations of models, and the test images that they misclassified."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.deps import JobId, ServicesDep
from api.http.auth import READ
from api.http.paging import Cursors, PageDep
from api.http.problems import documented
from api.http.rendered import KeepDep, keep_finished
from api.prediction.mnist_images import data_url
from shared.datasets import catalog
from shared.errors import DataUnavailable, InvalidCursor, JobNotFound, NotReady
from shared.schemas import JobEvaluation, Misclassified, MisclassifiedImage, Page
from shared.store import evaluations, job_queries

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[READ])

_CURSORS = Cursors("misclassified images", evaluations.ImageKey)
_MAX_INT = 2**31 - 1  # of PostgreSQL
Label = Annotated[int | None, Query(ge=0, le=_MAX_INT)]


@router.get(
    "/{job_id:uuid}/misclassified",
    responses=documented(JobNotFound, NotReady, DataUnavailable, InvalidCursor),
)
def list_misclassified(
    services: ServicesDep, job_id: JobId, query: PageDep, label: Label = None, predicted: Label = None
) -> Page[MisclassifiedImage]:
    """List the misclassified images, by default those of every `label` and every `predicted` class."""
    after = _CURSORS.parse(query.cursor)

    def read(session: Session) -> tuple[str, list[tuple[evaluations.ImageKey, Misclassified]]]:
        dataset = evaluations.dataset(session, job_id)
        rows = evaluations.misclassified(
            session, job_id, after=after, limit=query.limit + 1, label=label, predicted=predicted
        )
        return dataset, rows

    dataset, rows = services.database.read(read)
    pixels = catalog.cached(dataset, services.settings).test_images if rows else ()
    images = [(key, MisclassifiedImage(**dict(row), image=data_url(pixels[row.index]))) for key, row in rows]
    return _CURSORS.page(images, query.limit)


@router.get("/{job_id:uuid}/evaluation", responses=documented(JobNotFound, NotReady))
def get_evaluation(services: ServicesDep, keep: KeepDep, job_id: JobId) -> JobEvaluation:
    """Get the per-class results and the confusion matrix of a job that has succeeded."""

    def read(session: Session) -> tuple[JobEvaluation, int | None]:
        return evaluations.get(session, job_id), job_queries.final_version(session, job_id)

    evaluation, version = services.database.read(read)
    keep_finished(keep, job_id, version)
    return evaluation
