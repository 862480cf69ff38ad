"""The list of jobs."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.deps import EndOfEventsDep, ServicesDep
from api.http.auth import READ, whose
from api.routes import jobs
from api.web.formats import word
from api.web.forms import see_other
from api.web.metrics import COLUMNS
from api.web.pages import Stream, list_address, render
from shared.lifecycle import JobKind, JobState
from shared.schemas import JobListQuery, Mode, mode_of
from shared.store import activity, job_lists, metric_names, queues, rights

router = APIRouter(include_in_schema=False, dependencies=[READ])

_REPEATABLE = "state"  # the only field of `JobListQuery` with several values
_MAX_ROWS = 200  # rows in one request; no page has more

_SomeIds = Annotated[tuple[UUID, ...], Query(max_length=_MAX_ROWS)]

_BY_TIME = {
    "-created_at": "Newest first",
    "created_at": "Oldest first",
    "-duration": "Longest first",
    "duration": "Shortest first",
}


@router.get("/jobs")
def list_jobs(request: Request, services: ServicesDep, end: EndOfEventsDep) -> Response:
    """Show a page of the jobs that match the filters in the address."""
    fields = request.query_params.multi_items()
    if not all(value for _, value in fields):  # a form sends its empty fields too
        return see_other(list_address(request))
    query = _parse(fields)
    page = jobs.list_jobs(services, request.state.caller, query)
    owners = {job.api_key_id for job in page.data}
    actor = request.state.caller.actor
    names = services.database.read(partial(queues.page, named=services.settings.queues))
    known = services.database.read(metric_names.recorded)
    return render(
        request,
        "jobs.html",
        now=services.database.read(activity.read_now),
        stream=Stream("/v1/stream", end),
        query=query,
        page=page,
        changeable=services.database.read(partial(rights.changeable, actor=actor, owners=owners)),
        counts=jobs.count_jobs(services),
        states=list(JobState),
        queues=[queue.name for _, queue in names],
        kinds=list(JobKind),
        orders=_orders(known),
        is_filtered=bool(query.model_dump(exclude_defaults=True, exclude={"sort", "limit", "cursor"})),
        next_page=list_address(request, page.next_cursor) if page.next_cursor else None,
        first_page=list_address(request) if query.cursor else None,
        sorts=_sorts(request, query.sort, known),
        columns=_columns(query.sort),
    )


@router.get("/jobs/rows")
def list_rows(
    request: Request,
    services: ServicesDep,
    shown: _SomeIds = (),
    new: _SomeIds = (),
) -> Response:
    """Show the present rows of the jobs in `shown`, and the jobs in `new` that match the filters.

    An open page requests only the changed rows, so that its rows keep their places.
    """
    fields = request.query_params.multi_items()
    query = _parse([(name, value) for name, value in fields if name not in ("shown", "new")])
    caller = request.state.caller
    wanted = query.model_copy(update={"submitted_by": whose(query.submitted_by, caller)})

    def read(session: Session) -> dict[str, Any]:
        jobs = job_lists.of_ids(session, shown)
        return {
            "now": activity.read_now(session),
            "jobs": jobs,
            "changeable": rights.changeable(session, caller.actor, {job.api_key_id for job in jobs}),
            "matching": job_lists.matching(session, wanted, new) if new else (),
            "counts": job_lists.counts(session),
            "columns": _columns(query.sort),
        }

    return render(
        request, "jobs/changes.html", states=list(JobState), query=query, **services.database.read(read)
    )


def _parse(fields: Sequence[tuple[str, str]]) -> JobListQuery:
    """Return the filters that an address names.

    Raises:
        RequestValidationError: a filter is unknown or invalid.
    """
    repeated = [value for name, value in fields if name == _REPEATABLE]
    values = {**dict(fields), **({_REPEATABLE: repeated} if repeated else {})}
    try:
        return JobListQuery.model_validate(values)
    except ValidationError as error:
        errors = [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(errors) from error


def _columns(sort: str) -> list[str]:
    """Return the metrics that a list shows: the default ones, and the one by which the list is sorted."""
    metric = [] if sort in _BY_TIME else [sort.removeprefix("-")]
    return list(dict.fromkeys([*COLUMNS, *metric]))


def _orders(known: Sequence[str]) -> dict[str, str]:
    """Return the orders of a list, with their names on the page."""
    return {
        **_BY_TIME,
        **{order: f"{word(name)}, {end} first" for name in known for order, end in _ends(name)},
    }


def _ends(name: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the two orders by a metric, each with the word for its first value; best value first."""
    least, greatest = (name, "least"), (f"-{name}", "greatest")
    return (least, greatest) if mode_of(name) is Mode.MIN else (greatest, least)


def _sorts(request: Request, sort: str, known: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return `aria-sort` and the address of the other order, for the head of each sortable column."""
    heads = {}
    for name in ("created_at", "duration", *known):
        other = name if sort == f"-{name}" else f"-{name}"
        state = {name: "ascending", f"-{name}": "descending"}.get(sort, "")
        heads[name] = (state, list_address(request, sort=other))
    return heads
