"""Changes of existing jobs: edit, delete, clone, and batches of actions."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Response
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.deps import ENDS_WAITS, IdempotencyKey, IfMatch, JobId, ServicesDep
from api.http.auth import SUBMIT, ActorDep, SubmitterDep
from api.http.bodies import validation_error
from api.http.database_problems import OF_OUTAGE
from api.http.headers import accept, job_headers, job_versions
from api.http.problem_type import ProblemType
from api.http.problems import (
    BODY,
    INTERNAL,
    OF_ERROR,
    documented,
)
from api.jobs import batches, submission
from api.services import Services
from shared import log
from shared.db.outages import is_unavailable
from shared.errors import (
    IdempotencyKeyReused,
    InvalidSpec,
    JobNotFound,
    JobNotQueued,
    JobNotTerminal,
    ModelInUse,
    ModelNotFound,
    RequestError,
    SubmissionDeleted,
    VersionMismatch,
)
from shared.schemas import BatchAction, BatchResult, BatchResults, Job, JobBatch, JobClone, JobPatch
from shared.store import dispatch, job_edits, job_queries, references
from shared.store.places import Rules
from shared.store.rights import Actor
from shared.store.submissions import Submitter

_log = log.get_logger(__name__)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[SUBMIT])

_PATCHES = {
    "both": {"summary": "Change the name and the tags", "value": {"name": "the best", "tags": ["kept"]}},
    "nameless": {"summary": "Remove the name", "value": {"name": None}},
    "urgent": {"summary": "Start it before others", "value": {"priority": "urgent"}},
}
_CLONES = {
    "faster": {
        "summary": "With another learning rate",
        "value": {"spec": {"learning_rate": 0.003, "epochs": 20}},
    },
    "again": {"summary": "With a new seed", "value": {"spec": {"seed": None}, "name": "another seed"}},
}
_BATCHES = {
    "cancel": {
        "summary": "Cancel a job",
        "value": {"action": "cancel", "ids": ["0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"]},
    },
}


@router.patch(
    "/{job_id:id}",
    response_model=Job,
    responses=documented(JobNotFound, JobNotQueued, VersionMismatch, *BODY),
)
def edit_job(
    services: ServicesDep,
    actor: ActorDep,
    job_id: JobId,
    patch: Annotated[JobPatch, Body(openapi_examples=_PATCHES)],
    response: Response,
    if_match: IfMatch = None,
) -> Job:
    """Change a job's name or tags in any state, or its queue or priority while it is queued."""
    changes = patch.model_dump(mode="json", exclude_unset=True)
    versions = job_versions(if_match)

    def edit(session: Session) -> Job:
        rules = Rules.of(services.settings)
        job_edits.edit(session, job_id, changes, versions=versions, rules=rules, actor=actor)
        session.expire_all()  # else the session would return the rows as they were before the edit
        return job_queries.summary(session, job_id)

    job = services.database.write(edit)
    if changes.keys() & {"queue", "priority"}:
        dispatch.wake(services.broker, {job.queue: 1})
    response.headers.update(job_headers(job))
    return job


@router.delete("/{job_id:id}", status_code=204, responses=documented(JobNotFound, JobNotTerminal, ModelInUse))
def delete_job(services: ServicesDep, actor: ActorDep, job_id: JobId) -> None:
    """Delete a finished job and its model, unless the model has an alias or other jobs evaluate it."""
    batches.delete(services, actor, job_id)


@router.post(
    "/{job_id:id}/clone",
    status_code=202,
    responses=documented(
        JobNotFound, ModelNotFound, InvalidSpec, IdempotencyKeyReused, SubmissionDeleted, *BODY
    ),
)
def clone_job(
    services: ServicesDep,
    submitter: SubmitterDep,
    job_id: JobId,
    overrides: Annotated[JobClone, Body(openapi_examples=_CLONES)],
    response: Response,
    key: IdempotencyKey = None,
) -> Job:
    """Submit a copy of a job in any state; the body names the fields that differ, with their values."""
    try:
        return accept(response, submission.clone(services, submitter, job_id, overrides, key))
    except ValidationError as error:
        raise validation_error(error, overrides.model_dump(exclude_unset=True)) from error


@router.post("/batch", dependencies=[ENDS_WAITS], responses=documented(*BODY, JobNotFound))
def change_jobs(
    services: ServicesDep,
    submitter: SubmitterDep,
    actor: ActorDep,
    request: Annotated[JobBatch, Body(openapi_examples=_BATCHES)],
    key: IdempotencyKey = None,
) -> BatchResults:
    """Cancel, retry or delete up to 200 jobs, each independently.

    A repeated request with the same `Idempotency-Key` retries no job again. No job is changed if a part of an
    id matches no job, or several jobs.
    """
    results: list[BatchResult] = []
    ids = _whole_ids(services, request.ids)
    for job_id in ids:
        try:
            result = _change(services, submitter, actor, request.action, job_id, key)
        except SQLAlchemyError as error:
            if not results:
                raise  # nothing was done, so the client may repeat the request
            # each further job would wait for the end of the outage
            kind = OF_OUTAGE[services.database.outages.explain(error)]
            results += (_failed(untried, kind) for untried in ids[len(results) :])
            break
        results.append(result)
    return BatchResults(data=tuple(results))


def _whole_ids(services: Services, ids: Sequence[UUID | str]) -> tuple[UUID, ...]:
    whole = tuple(job_id for job_id in ids if isinstance(job_id, UUID))
    if len(whole) == len(ids):
        return whole
    return services.database.read(partial(references.find_jobs, references=ids))


def _change(
    services: Services,
    submitter: Submitter,
    actor: Actor,
    action: BatchAction,
    job_id: UUID,
    key: str | None,
) -> BatchResult:
    """Apply a batch's action to one of its jobs.

    Raises:
        SQLAlchemyError: the database is unavailable.
    """
    try:
        return batches.apply(services, submitter, actor, action, job_id, key)
    except RequestError as error:
        return _failed(job_id, OF_ERROR[type(error)], str(error))
    except Exception as error:
        if is_unavailable(error):
            raise
        _log.exception("a job of a batch failed", job_id=str(job_id))
        return _failed(job_id, INTERNAL, f"{INTERNAL.title}. {INTERNAL.advice}")


def _failed(job_id: UUID, kind: ProblemType, detail: str | None = None) -> BatchResult:
    problem = kind.problem(detail or kind.advice, instance=f"/v1/jobs/{job_id}")
    return BatchResult(id=job_id, status=kind.status, problem=problem)
