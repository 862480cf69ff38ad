"""Lists of jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import ServicesDep
from api.problems import documented
from shared import job_lists
from shared.errors import InvalidCursor
from shared.schemas import JobListQuery, JobPage

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("", responses=documented(InvalidCursor))
def list_jobs(services: ServicesDep, query: Annotated[JobListQuery, Query()]) -> JobPage:
    """The jobs that fit every filter, page by page."""
    return services.database.read(lambda session: job_lists.page(session, query))
