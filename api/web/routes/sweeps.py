"""The list of sweeps, and the page of one with its jobs, ranked and as parallel coordinates."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.deps import ENDS_WAITS, EndOfEventsDep, ObjectiveDep, ServicesDep
from api.http.auth import READ, SUBMIT, ActorDep, SubmittedByDep
from api.http.paging import PageDep
from api.jobs.sweeps import cancel
from api.routes import sweeps as rest
from api.routes.sweeps import SweepId
from api.web.commands import of_sweep
from api.web.curves import Parallel, parallel
from api.web.forms import see_other
from api.web.pages import Stream, list_address, render
from shared.lifecycle import TERMINAL
from shared.schemas import DEFAULT_OBJECTIVE, Mode, SweepCreate, SweepDetail, SweepResult
from shared.store import activity, metric_names, rights, sweeps
from shared.store.sweeps import Objective

router = APIRouter(prefix="/sweeps", include_in_schema=False)

_ROWS = 200  # rows of the table, unless the address has another number; lines of the chart
_BY_VALUE = "value"

EXAMPLE = "trainshed sweep submit --param learning_rate=0.0003,0.001,0.003 --param batch_size=128,512"


@router.get("", dependencies=[READ])
def list_sweeps(
    request: Request,
    services: ServicesDep,
    query: PageDep,
    submitted_by: SubmittedByDep,
    end: EndOfEventsDep,
) -> Response:
    """Show the sweeps, newest first, each with its best job."""
    page = rest.list_sweeps(services, query, submitted_by, Objective.of())
    more = list_address(request, page.next_cursor) if page.next_cursor else None
    return render(
        request,
        "sweeps.html",
        now=services.database.read(activity.read_now),
        stream=Stream("/v1/stream", end),
        page=page,
        next_page=more,
        submitted_by=request.query_params.get("submitted_by"),
        first_page=list_address(request) if query.cursor else None,
        example=EXAMPLE,
    )


@router.get("/{sweep_id}", dependencies=[READ])
def show_sweep(
    request: Request,
    services: ServicesDep,
    end: EndOfEventsDep,
    sweep_id: SweepId,
    objective: ObjectiveDep,
    sort: str = _BY_VALUE,
    rows: Annotated[int, Query(ge=1, le=1_000)] = _ROWS,
) -> Response:
    """Show a sweep's jobs.

    Args:
        sort: `value`, for the best job first, or a parameter; a leading `-` reverses the order.
    """
    actor = request.state.caller.actor

    def read(session: Session) -> tuple[SweepDetail, SweepCreate, list[str], datetime, bool]:
        detail = sweeps.detail(session, sweep_id, objective)
        may_change = bool(rights.changeable(session, actor, [detail.api_key_id]))
        known = metric_names.recorded(session, sweep_id)
        return detail, sweeps.request(session, sweep_id), known, activity.read_now(session), may_change

    detail, request_of_sweep, known, now, may_change = services.database.read(read)
    names = list(detail.parameters)
    unfinished = sum(count for state, count in detail.states.items() if state not in TERMINAL)
    return render(
        request,
        "sweep.html",
        now=now,
        stream=Stream("/v1/stream", end) if unfinished else None,
        sweep=detail,
        may_change=may_change,
        names=names,
        objectives=list(dict.fromkeys([DEFAULT_OBJECTIVE, objective.metric, *known])),
        total=sum(detail.states.values()),
        unfinished=unfinished,
        ranks={result.job_id: rank for rank, result in enumerate(detail.jobs, 1) if result.value is not None},
        jobs=_sorted(detail.jobs, sort)[:rows],
        rows=rows,
        sort=sort,
        address=partial(_address, detail, metric=objective.metric, sort=sort, rows=rows),
        chart=_chart(detail),
        commands=of_sweep(request, request_of_sweep),
        best=[result.job_id for result in detail.jobs[:5] if result.value is not None],
    )


@router.post("/{sweep_id}/cancel", dependencies=[SUBMIT, ENDS_WAITS])
def cancel_sweep(services: ServicesDep, actor: ActorDep, sweep_id: SweepId) -> Response:
    """Cancel the unfinished jobs of a sweep, and show the sweep."""
    cancel(services, actor, sweep_id)
    return see_other(f"/sweeps/{sweep_id}")


def _chart(sweep: SweepDetail) -> Parallel:
    is_minimized = sweep.mode is Mode.MIN
    names = list(sweep.parameters)
    return parallel(sweep.jobs[:_ROWS], names, objective=sweep.objective, minimized=is_minimized)


def _sorted(results: Sequence[SweepResult], sort: str) -> list[SweepResult]:
    """Return the jobs sorted by a parameter, or by value, with jobs without a value always last."""
    name, is_reversed = sort.removeprefix("-"), sort.startswith("-")
    if name == _BY_VALUE:
        valued = [result for result in results if result.value is not None]
        return [*(valued[::-1] if is_reversed else valued), *results[len(valued) :]]
    return sorted(results, key=lambda result: _key(result.parameters.get(name)), reverse=is_reversed)


def _key(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return (not is_number, value if is_number else 0.0, str(value))


def _address(sweep: SweepDetail, **fields: Any) -> str:
    defaults = {"metric": DEFAULT_OBJECTIVE, "sort": _BY_VALUE, "rows": _ROWS}
    given = {name: str(value) for name, value in fields.items() if value != defaults[name]}
    return f"/sweeps/{sweep.id}" + (f"?{urlencode(given)}" if given else "")
