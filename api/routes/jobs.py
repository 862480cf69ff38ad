"""Jobs: submit, list, look at, cancel, retry; their curves and their evaluation."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query, Response

from api import submission
from api.deps import IdempotencyKey, IfNoneMatch, JobId, ServicesDep
from api.etags import etag, is_known
from api.problems import MALFORMED_JSON, NOT_JSON, TOO_LARGE, documented
from api.series import Resolution, curves
from shared import jobs, queries, results
from shared.errors import (
    IdempotencyKeyReused,
    InvalidSpec,
    JobAlreadyFinished,
    JobNotFound,
    JobNotTerminal,
    ModelNotFound,
    NotReady,
)
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import Job, JobCreate, JobDetail, JobEvaluation, JobPage, Metrics

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_POLL_AFTER = {"Retry-After": "1"}

_EXAMPLES = {
    "codelab": {"summary": "The codelab's training job", "value": {"kind": "train"}},
    "train": {
        "summary": "A training job with most of its options",
        "value": {
            "kind": "train",
            "spec": {"model": "dense", "epochs": 20, "batch_size": 256, "learning_rate": 0.002, "seed": 1},
            "name": "a dense network",
            "tags": ["baseline"],
            "priority": "high",
        },
    },
    "evaluate": {
        "summary": "An evaluation of a model; unsure predictions count as no digit found",
        "value": {
            "kind": "evaluate",
            "spec": {"model_id": "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f", "threshold": 0.5},
        },
    },
}


@router.post(
    "",
    status_code=202,
    responses=documented(
        MALFORMED_JSON, ModelNotFound, TOO_LARGE, NOT_JSON, InvalidSpec, IdempotencyKeyReused
    ),
)
def submit_job(
    services: ServicesDep,
    request: Annotated[JobCreate, Body(openapi_examples=_EXAMPLES)],
    response: Response,
    key: IdempotencyKey = None,
) -> Job:
    """Submit a job. It is stored when this answers; poll `Location` for its progress."""
    return _accepted(response, submission.submit(services, request, key))


@router.get("", responses=documented())
def list_jobs(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    state: JobState | None = None,
) -> JobPage:
    """Jobs, newest first."""
    found = services.database.read(
        lambda session: queries.jobs(session, limit=limit + 1, before=cursor, state=state)
    )
    page, has_more = tuple(found[:limit]), len(found) > limit
    return JobPage(data=page, has_more=has_more, next_cursor=str(page[-1].id) if has_more else None)


@router.get(
    "/{job_id}",
    response_model=JobDetail,
    responses={**documented(JobNotFound), 304: {"description": "It is as `If-None-Match` says"}},
)
def get_job(
    services: ServicesDep, job_id: JobId, response: Response, if_none_match: IfNoneMatch = None
) -> JobDetail | Response:
    """A job with its attempts. The ETag changes whenever the job does."""
    job = services.database.read(lambda session: queries.job(session, job_id))
    headers = _headers(job)
    if is_known(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return job


@router.post(
    "/{job_id}/cancel",
    response_model=Job,
    responses={
        **documented(JobNotFound, JobAlreadyFinished),
        202: {"model": Job, "description": "It runs, and its worker was asked to stop"},
    },
)
def cancel_job(services: ServicesDep, job_id: JobId, response: Response) -> Job:
    """Cancel a job: a queued one at once, a running one within seconds. Asking twice is asking once."""
    services.database.write(lambda session: jobs.request_cancel(session, job_id))
    job = services.database.read(lambda session: queries.job(session, job_id))
    response.headers.update(_headers(job))
    response.status_code = 200 if job.state in TERMINAL else 202
    return job


@router.post(
    "/{job_id}/retry",
    status_code=202,
    responses=documented(JobNotFound, JobNotTerminal, IdempotencyKeyReused),
)
def retry_job(services: ServicesDep, job_id: JobId, response: Response, key: IdempotencyKey = None) -> Job:
    """Submit a new job with the same specification, seed included, as one that is over."""
    return _accepted(response, submission.retry(services, job_id, key))


@router.get("/{job_id}/metrics", responses=documented(JobNotFound))
def get_metrics(services: ServicesDep, job_id: JobId, resolution: Resolution = Resolution.EPOCH) -> Metrics:
    """A training job's curves so far."""
    services.database.read(lambda session: queries.job(session, job_id))
    epochs = services.database.read(lambda session: results.epochs(session, job_id))
    return curves(epochs, resolution)


@router.get("/{job_id}/evaluation", responses=documented(JobNotFound, NotReady))
def get_evaluation(services: ServicesDep, job_id: JobId) -> JobEvaluation:
    """The per-class results and the confusion matrix of a job that has succeeded."""
    services.database.read(lambda session: queries.job(session, job_id))
    return services.database.read(lambda session: results.evaluation(session, job_id))


def _accepted(response: Response, submitted: submission.Submitted) -> Job:
    response.headers.update({"Location": f"/v1/jobs/{submitted.job.id}", **_headers(submitted.job)})
    if submitted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return submitted.job


def _headers(job: Job) -> dict[str, str]:
    return {"ETag": etag(job.version), **({} if job.state in TERMINAL else _POLL_AFTER)}
