"""The overview, which is the first page."""

from fastapi import APIRouter, Request, Response

from api.deps import EndOfEventsDep, ServicesDep
from api.http.auth import READ
from api.jobs import overview
from api.web.pages import Stream, render

router = APIRouter(include_in_schema=False, dependencies=[READ])


@router.get("/")
def show_overview(request: Request, services: ServicesDep, end: EndOfEventsDep) -> Response:
    """Show the running jobs, the waiting jobs with the reasons, the workers and the last results."""
    facts = services.database.read(overview.read)
    stream = Stream("/v1/stream", end)
    jobs = {str(item.job.id): item.job for item in facts.running}
    return render(request, "overview.html", now=facts.now, stream=stream, facts=facts, jobs=jobs)
