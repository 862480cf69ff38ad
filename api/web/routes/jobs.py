"""The list of jobs."""

from collections.abc import Sequence
from functools import partial
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.deps import EndOfEventsDep, ServicesDep
from api.http.auth import READ
from api.routes import jobs
from api.web.forms import see_other
from api.web.pages import Stream, render
from shared.lifecycle import JobKind, JobState
from shared.schemas import JobListQuery, JobOrder
from shared.store import activity, queues

router = APIRouter(include_in_schema=False, dependencies=[READ])

_REPEATABLE = "state"  # the only field of `JobListQuery` with several values

ORDERS = {
    JobOrder.NEWEST: "Newest first",
    JobOrder.OLDEST: "Oldest first",
    JobOrder.LONGEST: "Longest first",
    JobOrder.SHORTEST: "Shortest first",
    JobOrder.BEST_VAL_ACCURACY: "Best validation accuracy",
    JobOrder.WORST_VAL_ACCURACY: "Worst validation accuracy",
    JobOrder.BEST_EVALUATION: "Best evaluation",
    JobOrder.WORST_EVALUATION: "Worst evaluation",
}


@router.get("/jobs")
def list_jobs(request: Request, services: ServicesDep, end: EndOfEventsDep) -> Response:
    """Show a page of the jobs that match the filters in the address."""
    fields = request.query_params.multi_items()
    if not all(value for _, value in fields):  # a form sends its empty fields too
        return see_other(_address(request))
    query = _parse(fields)
    page = jobs.list_jobs(services, query)
    names = services.database.read(partial(queues.page, named=services.settings.queues))
    return render(
        request,
        "jobs.html",
        now=services.database.read(activity.read_now),
        stream=Stream("/v1/stream", end),
        query=query,
        page=page,
        counts=jobs.count_jobs(services),
        queues=[queue.name for _, queue in names],
        states=list(JobState),
        kinds=list(JobKind),
        orders=ORDERS,
        is_filtered=bool(query.model_dump(exclude_defaults=True, exclude={"sort", "limit", "cursor"})),
        next_page=_address(request, page.next_cursor) if page.next_cursor else None,
        first_page=_address(request) if query.cursor else None,
    )


def _parse(fields: Sequence[tuple[str, str]]) -> JobListQuery:
    """Return the filters that an address names.

    Raises:
        RequestValidationError: one is unknown or invalid.
    """
    repeated = [value for name, value in fields if name == _REPEATABLE]
    values = {**dict(fields), **({_REPEATABLE: repeated} if repeated else {})}
    try:
        return JobListQuery.model_validate(values)
    except ValidationError as error:
        errors = [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(errors) from error


def _address(request: Request, cursor: str | None = None) -> str:
    """Return the address of another page of the same list, by default the first."""
    fields = [
        (name, value) for name, value in request.query_params.multi_items() if value and name != "cursor"
    ]
    query = urlencode([*fields, *([("cursor", cursor)] if cursor else [])])
    return f"{request.url.path}?{query}" if query else request.url.path
