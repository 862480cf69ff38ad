"""Jobs: submit, get, list, count, cancel and retry them; count the finished ones by minute."""

import re
from collections.abc import Callable, Coroutine
from enum import StrEnum
from functools import lru_cache, partial
from time import monotonic
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from api.deps import ENDS_WAITS, IdempotencyKey, IfNoneMatch, JobId, ServicesDep, WatcherDep
from api.http.auth import READ, SUBMIT, ActorDep, CallerDep, SubmitterDep, authorize, submitter_of, whose
from api.http.headers import accept, is_current, job_headers
from api.http.paging import Cursors
from api.http.problems import BODY, documented
from api.http.rendered import KeepDep
from api.jobs import submission
from api.jobs.rendered import Source
from api.jobs.watching import JobWatcher
from shared.errors import (
    IdempotencyKeyReused,
    InvalidCursor,
    InvalidSpec,
    JobAlreadyFinished,
    JobNotFound,
    JobNotTerminal,
    ModelNotFound,
    PredecessorFailed,
    SubmissionDeleted,
    TooManyWait,
    UnknownMetric,
)
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import (
    EvaluateJobCreate,
    Job,
    JobCounts,
    JobCreate,
    JobDetail,
    JobListQuery,
    Page,
    Scope,
    Throughput,
    TrainJobCreate,
)
from shared.store import job_edits, job_lists, job_queries, throughput

Marked = tuple[JobDetail, job_queries.Mark]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class Until(StrEnum):
    """The event that ends a long poll."""

    CHANGE = "change"
    END = "end"


@lru_cache
def _cursors(order: str) -> Cursors[job_lists.JobKey]:
    return Cursors(f"jobs sorted by {order}", job_lists.key_type(order))


_BODY: TypeAdapter[TrainJobCreate | EvaluateJobCreate] = TypeAdapter(JobCreate)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")  # the values that `IdempotencyKey` allows
_NEEDED = SecurityScopes([Scope.SUBMIT])

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
        "summary": "An evaluation job; predictions below the threshold count as no digit found",
        "value": {
            "kind": "evaluate",
            "spec": {"model_id": "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f", "threshold": 0.5},
        },
    },
}


async def submit_job(
    services: ServicesDep,
    submitter: SubmitterDep,
    request: Annotated[JobCreate, Body(openapi_examples=_EXAMPLES)],
    key: IdempotencyKey = None,
) -> Response:
    """Submit a job. The response confirms that the job is stored; poll `Location` for its progress."""
    submitted = await submission.submit(services, submitter, request, key)
    # rendered here, because FastAPI would validate the job again
    response = Response(submitted.job.model_dump_json(), 202, media_type="application/json")
    accept(response, submitted)
    return response


class _SubmitRoute(APIRoute):
    """A route that bypasses FastAPI's dependency solver, which costs more than the submission does.

    Only valid requests bypass it; FastAPI handles all others, and explains their errors.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that responds to a request."""
        by_fastapi = super().get_route_handler()

        async def respond(request: Request) -> Response:
            job, key = await _parse(request), request.headers.get("Idempotency-Key")
            if job is None or not (key is None or _KEY.fullmatch(key)):
                return await by_fastapi(request)
            state = request.state
            await authorize(_NEEDED, request, state.callers, state.rate_limiter, None)
            return await submit_job(state.services, await submitter_of(request), job, key)

        return respond


async def _parse(request: Request) -> TrainJobCreate | EvaluateJobCreate | None:
    """Return the job that a request's body describes, or None if the body is invalid."""
    if request.headers.get("Content-Type") != "application/json":
        return None
    try:
        return _BODY.validate_json(await request.body())
    except ValidationError:
        return None


router.add_api_route(
    "",
    submit_job,
    methods=["POST"],
    dependencies=[SUBMIT],
    status_code=202,
    response_model=Job,
    responses=documented(
        *BODY,
        ModelNotFound,
        JobNotFound,
        InvalidSpec,
        IdempotencyKeyReused,
        SubmissionDeleted,
        PredecessorFailed,
        TooManyWait,
    ),
    route_class_override=_SubmitRoute,
)


@router.get(
    "/{job_id:id}",
    dependencies=[READ],
    response_model=JobDetail,
    responses={**documented(JobNotFound), 304: {"description": "Unchanged since `If-None-Match`"}},
)
async def get_job(
    watcher: WatcherDep,
    job_id: JobId,
    response: Response,
    keep: KeepDep,
    if_none_match: IfNoneMatch = None,
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for a change.")] = 0,
    until: Annotated[
        Until, Query(description="What to wait for: any change of the ETag, or the job's end.")
    ] = Until.CHANGE,
) -> JobDetail | Response:
    """Get a job with its attempts. The ETag changes whenever the job changes.

    With `wait`, the response comes as soon as the job's ETag differs from `If-None-Match` (without that
    header: from the present ETag), or the job has finished, or the time has passed, or the API stops. With
    `until=end`, changes other than the job's end do not end the wait.
    """
    if until == Until.END:
        job, (_, lease_ends_at) = await _ended_job(watcher, job_id, wait)
    else:
        job, (_, lease_ends_at) = await _changed_job(watcher, job_id, if_none_match, wait)
    headers = job_headers(job)
    if is_current(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    # a queued job's place in the queue changes without an event
    is_lasting = job.state is not JobState.QUEUED
    keep(Source(job_id, job.version, is_lasting=is_lasting, lease_ends_at=lease_ends_at))
    response.headers.update(headers)
    return job


async def _ended_job(watcher: JobWatcher, job_id: UUID, wait_s: float) -> Marked:
    """Wait until a job has finished, the time has passed, or the API stops; return the job."""
    read, deadline = partial(job_queries.get_marked, job_id=job_id), monotonic() + wait_s
    with watcher.watch(job_id) as watch:

        def read_ended(session: Session) -> Marked | None:
            # most changes come before the end, and for those it is enough to read the state
            state, watch.seen = job_queries.state_and_version(session, job_id)
            return read(session) if state in TERMINAL else None

        while (ended := await watcher.read(read_ended)) is None:
            if watcher.is_stopping or not await watch.changed(deadline - monotonic()):
                return await watcher.read(read)
        return ended


async def _changed_job(watcher: JobWatcher, job_id: UUID, tag: str | None, wait_s: float) -> Marked:
    read, deadline = partial(job_queries.get_marked, job_id=job_id), monotonic() + wait_s
    with watcher.watch(job_id) as watch:
        while True:
            job, mark = await watcher.read(read)
            watch.seen, current = job.version, job_headers(job)["ETag"]
            tag = tag or current
            is_awaited = job.state in TERMINAL or not is_current(tag, current)
            if not wait_s or is_awaited or watcher.is_stopping:
                return job, mark
            if not await watch.changed(deadline - monotonic()):
                return await watcher.read(read)  # a job's place in the queue changes without an event


@router.post(
    "/{job_id:id}/cancel",
    dependencies=[SUBMIT, ENDS_WAITS],
    response_model=Job,
    responses={
        **documented(JobNotFound, JobAlreadyFinished),
        202: {"model": Job, "description": "The job is running; its worker will stop it"},
    },
)
def cancel_job(services: ServicesDep, actor: ActorDep, job_id: JobId, response: Response) -> Job:
    """Cancel a job: a queued one at once, a running one within seconds. Idempotent."""

    def cancel(session: Session) -> Job:
        job_edits.request_cancel(session, job_id, actor=actor)
        return job_queries.get(session, job_id)

    job = services.database.write(cancel)
    response.headers.update(job_headers(job))
    response.status_code = 200 if job.state in TERMINAL else 202
    return job


@router.post(
    "/{job_id:id}/retry",
    dependencies=[SUBMIT],
    status_code=202,
    responses=documented(JobNotFound, JobNotTerminal, IdempotencyKeyReused, SubmissionDeleted),
)
def retry_job(
    services: ServicesDep,
    submitter: SubmitterDep,
    job_id: JobId,
    response: Response,
    key: IdempotencyKey = None,
) -> Job:
    """Submit a new job with the specification of a finished one, including its seed."""
    return accept(response, submission.retry(services, submitter, job_id, key))


@router.get("", dependencies=[READ], responses=documented(InvalidCursor, UnknownMetric))
def list_jobs(services: ServicesDep, caller: CallerDep, query: Annotated[JobListQuery, Query()]) -> Page[Job]:
    """List the jobs that match every filter."""
    query = query.model_copy(update={"submitted_by": whose(query.submitted_by, caller)})
    return _cursors(query.sort).read(services.database, query, partial(job_lists.page, query=query))


@router.get("/counts", dependencies=[READ], responses=documented())
def count_jobs(services: ServicesDep) -> JobCounts:
    """Count the jobs in each state, and in each state of each queue."""
    return services.database.read(job_lists.counts)


@router.get("/throughput", dependencies=[READ], responses=documented())
def get_throughput(
    services: ServicesDep,
    minutes: Annotated[
        int, Query(ge=1, le=1_440, description="How many minutes, with the present one.")
    ] = 60,
) -> Throughput:
    """Count the jobs that finished in each of the last minutes, by the state in which they ended."""
    return services.database.read(lambda session: throughput.by_minute(session, minutes))
