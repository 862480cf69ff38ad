"""All jobs together: how many there are, and one action for many."""

from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from api import batches
from api.deps import IdempotencyKey, ServicesDep
from api.problems import MALFORMED_JSON, NOT_JSON, TOO_LARGE, documented
from shared import job_lists
from shared.schemas import BatchResults, JobBatch, JobCounts


class _NoJobsId(APIRoute):
    """A route that answers every method, most by 405: no other one takes the end of its path for an id."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is this one."""
        match, child_scope = super().matches(scope)
        return (Match.FULL if match is Match.PARTIAL else match), child_scope


router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=_NoJobsId)

_BATCHES = {
    "cancel": {
        "summary": "Cancel a job",
        "value": {"action": "cancel", "ids": ["0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"]},
    },
}


@router.get("/counts", responses=documented())
def count_jobs(services: ServicesDep) -> JobCounts:
    """How many jobs there are in each state, and in each state of each queue."""
    return services.database.read(job_lists.counts)


@router.post("/batch", responses=documented(MALFORMED_JSON, TOO_LARGE, NOT_JSON))
def change_jobs(
    services: ServicesDep,
    request: Annotated[JobBatch, Body(openapi_examples=_BATCHES)],
    key: IdempotencyKey = None,
) -> BatchResults:
    """Cancel, retry or delete up to 200 jobs, each on its own; with a key, none is retried twice."""
    return batches.run(services, request, key)
