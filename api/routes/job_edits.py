"""What people do with a job that is there: rename, delete, clone."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from api.deps import IdempotencyKey, IfMatch, JobId, ServicesDep
from api.http.headers import accepted, job_headers, versions
from api.http.problems import MALFORMED_JSON, NOT_JSON, TOO_LARGE, documented
from api.jobs import batches, submission
from shared.errors import (
    IdempotencyKeyReused,
    InvalidSpec,
    JobNotFound,
    JobNotTerminal,
    ModelInUse,
    ModelNotFound,
    VersionMismatch,
)
from shared.schemas import BatchResults, Job, JobBatch, JobClone, JobPatch
from shared.store import job_edits, job_queries

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_BODY = (MALFORMED_JSON, TOO_LARGE, NOT_JSON)

_PATCHES = {
    "both": {"summary": "Another name and other tags", "value": {"name": "the best", "tags": ["kept"]}},
    "nameless": {"summary": "No name any more", "value": {"name": None}},
}
_CLONES = {
    "faster": {"summary": "The same, but faster", "value": {"spec": {"learning_rate": 0.003, "epochs": 20}}},
    "again": {"summary": "With a new seed", "value": {"spec": {"seed": None}, "name": "another draw"}},
}


@router.patch(
    "/{job_id:uuid}", response_model=Job, responses=documented(JobNotFound, VersionMismatch, *_BODY)
)
def edit_job(
    services: ServicesDep,
    job_id: JobId,
    patch: Annotated[JobPatch, Body(openapi_examples=_PATCHES)],
    response: Response,
    if_match: IfMatch = None,
) -> Job:
    """Give a job, also one that is over, another name or other tags."""
    changes = patch.model_dump(mode="json", exclude_unset=True)
    known = versions(if_match)
    services.database.write(lambda session: job_edits.edit(session, job_id, changes, versions=known))
    job = services.database.read(lambda session: job_queries.get(session, job_id))
    response.headers.update(job_headers(job))
    return job


@router.delete(
    "/{job_id:uuid}", status_code=204, responses=documented(JobNotFound, JobNotTerminal, ModelInUse)
)
def delete_job(services: ServicesDep, job_id: JobId) -> None:
    """Delete a job that is over, with its model, unless that has an alias or other jobs evaluate it."""
    services.database.write(lambda session: job_edits.delete_job(session, job_id))


@router.post(
    "/{job_id:uuid}/clone",
    status_code=202,
    responses=documented(JobNotFound, ModelNotFound, InvalidSpec, IdempotencyKeyReused, *_BODY),
)
def clone_job(
    services: ServicesDep,
    job_id: JobId,
    overrides: Annotated[JobClone, Body(openapi_examples=_CLONES)],
    response: Response,
    key: IdempotencyKey = None,
) -> Job:
    """Submit a new job that is as another one, whatever that one's state, but for what the body names."""
    return accepted(response, submission.clone(services, job_id, overrides, key))


_BATCHES = {
    "cancel": {
        "summary": "Cancel a job",
        "value": {"action": "cancel", "ids": ["0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"]},
    },
}


@router.post("/batch", responses=documented(MALFORMED_JSON, TOO_LARGE, NOT_JSON))
def change_jobs(
    services: ServicesDep,
    request: Annotated[JobBatch, Body(openapi_examples=_BATCHES)],
    key: IdempotencyKey = None,
) -> BatchResults:
    """Cancel, retry or delete up to 200 jobs, each on its own; with a key, none is retried twice."""
    return batches.run(services, request, key)
