"""Jobs: submit, look at, cancel, retry; and their evaluation."""

from functools import partial
from time import monotonic
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query, Response

from api.deps import IdempotencyKey, IfNoneMatch, JobId, ServicesDep, WatcherDep
from api.http.headers import accepted, is_known, job_headers
from api.http.problems import MALFORMED_JSON, NOT_JSON, TOO_LARGE, documented
from api.jobs import submission
from api.jobs.watching import JobWatcher
from shared.errors import (
    IdempotencyKeyReused,
    InvalidCursor,
    InvalidSpec,
    JobAlreadyFinished,
    JobNotFound,
    JobNotTerminal,
    ModelNotFound,
)
from shared.lifecycle import TERMINAL
from shared.schemas import Job, JobCounts, JobCreate, JobDetail, JobListQuery, JobPage
from shared.store import job_edits, job_lists, job_queries

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

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
    return accepted(response, submission.submit(services, request, key))


@router.get(
    "/{job_id:uuid}",
    response_model=JobDetail,
    responses={**documented(JobNotFound), 304: {"description": "It is as `If-None-Match` says"}},
)
async def get_job(
    changes: WatcherDep,
    job_id: JobId,
    response: Response,
    if_none_match: IfNoneMatch = None,
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for a change.")] = 0,
) -> JobDetail | Response:
    """A job with its attempts. The ETag changes whenever the job does.

    With `wait` the answer comes as soon as the job is another than `If-None-Match` names (without it: than it
    was), or is finished, or the time is over.
    """
    job = await _changed_job(changes, job_id, if_none_match, wait)
    headers = job_headers(job)
    if is_known(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return job


async def _changed_job(changes: JobWatcher, job_id: UUID, known: str | None, wait_s: float) -> JobDetail:
    look, deadline = partial(job_queries.get, job_id=job_id), monotonic() + wait_s
    with changes.watch(job_id) as watch:
        while True:
            job = await changes.read(look)
            watch.seen, tag = job.version, job_headers(job)["ETag"]
            known = known or tag
            if not wait_s or job.state in TERMINAL or not is_known(known, tag):
                return job
            if not await watch.changed(deadline - monotonic()):
                return await changes.read(look)  # its place in the queue changes without an event


@router.post(
    "/{job_id:uuid}/cancel",
    response_model=Job,
    responses={
        **documented(JobNotFound, JobAlreadyFinished),
        202: {"model": Job, "description": "It runs, and its worker was asked to stop"},
    },
)
def cancel_job(services: ServicesDep, job_id: JobId, response: Response) -> Job:
    """Cancel a job: a queued one at once, a running one within seconds. Asking twice is asking once."""
    services.database.write(lambda session: job_edits.request_cancel(session, job_id))
    job = services.database.read(lambda session: job_queries.get(session, job_id))
    response.headers.update(job_headers(job))
    response.status_code = 200 if job.state in TERMINAL else 202
    return job


@router.post(
    "/{job_id:uuid}/retry",
    status_code=202,
    responses=documented(JobNotFound, JobNotTerminal, IdempotencyKeyReused),
)
def retry_job(services: ServicesDep, job_id: JobId, response: Response, key: IdempotencyKey = None) -> Job:
    """Submit a new job with the same specification, seed included, as one that is over."""
    return accepted(response, submission.retry(services, job_id, key))


@router.get("", responses=documented(InvalidCursor))
def list_jobs(services: ServicesDep, query: Annotated[JobListQuery, Query()]) -> JobPage:
    """The jobs that fit every filter, page by page."""
    return services.database.read(lambda session: job_lists.page(session, query))


@router.get("/counts", responses=documented())
def count_jobs(services: ServicesDep) -> JobCounts:
    """How many jobs there are in each state, and in each state of each queue."""
    return services.database.read(job_lists.counts)
