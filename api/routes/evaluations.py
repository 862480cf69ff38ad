"""The test images that an evaluation got wrong, to be looked at."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.deps import JobId, ServicesDep
from api.http.problems import documented
from api.prediction.mnist_images import data_url
from shared.datasets import catalog
from shared.errors import DataCorrupt, DataUnavailable, JobNotFound, NotReady
from shared.schemas import (
    JobEvaluation,
    Misclassified,
    MisclassifiedImage,
    MisclassifiedPage,
)
from shared.store import evaluations, job_queries

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_MAX_INT = 2**31 - 1  # PostgreSQL's
Class = Annotated[int | None, Query(ge=0, le=_MAX_INT)]


@router.get(
    "/{job_id:uuid}/misclassified", responses=documented(JobNotFound, NotReady, DataCorrupt, DataUnavailable)
)
def list_misclassified(
    services: ServicesDep,
    job_id: JobId,
    label: Class = None,
    predicted: Class = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[
        int | None, Query(ge=0, le=_MAX_INT, description="`next_cursor` of the page before.")
    ] = None,
) -> MisclassifiedPage:
    """Images that were predicted wrong and not rejected; of one class, or taken for one, if that is asked."""

    def read(session: Session) -> tuple[JobEvaluation, list[Misclassified]]:
        evaluation = _evaluation(session, job_id)
        wrong = evaluations.misclassified(
            session, job_id, limit=limit + 1, after=cursor, label=label, predicted=predicted
        )
        return evaluation, wrong

    evaluation, wrong = services.database.read(read)
    images = catalog.load(evaluation.dataset, services.settings).test_images if wrong else ()
    page = tuple(MisclassifiedImage(**dict(one), image=data_url(images[one.index])) for one in wrong[:limit])
    has_more = len(wrong) > limit
    return MisclassifiedPage(data=page, has_more=has_more, next_cursor=page[-1].index if has_more else None)


def _evaluation(session: Session, job_id: UUID) -> JobEvaluation:
    job_queries.get(session, job_id)
    return evaluations.get(session, job_id, misclassified=False)


@router.get("/{job_id:uuid}/evaluation", responses=documented(JobNotFound, NotReady))
def get_evaluation(services: ServicesDep, job_id: JobId) -> JobEvaluation:
    """The per-class results and the confusion matrix of a job that has succeeded."""
    services.database.read(lambda session: job_queries.get(session, job_id))
    return services.database.read(lambda session: evaluations.get(session, job_id))
