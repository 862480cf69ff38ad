"""Jobs side by side: their differences, their curves, their results for each class."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.deps import COMMA_SEPARATED, EndOfEventsDep, ServicesDep
from api.http.auth import READ
from api.jobs.comparison import compare
from api.web.curves import curves
from api.web.metrics import COLUMNS
from api.web.pages import Stream, render
from shared.lifecycle import TERMINAL, JobKind
from shared.schemas import Comparison, IdReference, Job, JobEvaluation, Mode, in_order, mode_of
from shared.store import activity
from shared.store.references import find_jobs

router = APIRouter(include_in_schema=False, dependencies=[READ])

MAX_JOBS = 10

_MAX_METRICS = 48  # metrics on the page

_Ids = Annotated[tuple[IdReference, ...], COMMA_SEPARATED, Query(alias="job")]
_IdsOfApi = Annotated[tuple[IdReference, ...], COMMA_SEPARATED, Query(alias="jobs")]


@router.get("/compare")
def show_comparison(
    request: Request, services: ServicesDep, end: EndOfEventsDep, chosen: _Ids = (), named: _IdsOfApi = ()
) -> Response:
    """Show two to ten jobs side by side or, for fewer or more, an explanation of how to choose them.

    The address names the jobs as a form's checkboxes do, `job=a&job=b`, or as for `/v1/compare`, `jobs=a,b`.
    """
    ids = tuple(dict.fromkeys((*chosen, *named)))
    if not 2 <= len(ids) <= MAX_JOBS:
        return render(request, "compare.html", comparison=None, ids=ids, most=MAX_JOBS)

    def read(session: Session) -> tuple[Comparison, datetime]:
        return compare(session, find_jobs(session, ids)), activity.read_now(session)

    comparison, now = services.database.read(read)
    jobs = comparison.jobs
    is_final = all(job.state in TERMINAL for job in jobs)
    trains = any(job.kind is JobKind.TRAIN for job in jobs)
    specs = [job.spec.model_dump(mode="json") for job in jobs]
    return render(
        request,
        "compare.html",
        now=now,
        stream=None if is_final else Stream("/v1/stream", end),
        comparison=comparison,
        ids=[job.id for job in jobs],
        equal={name: value for name, value in specs[0].items() if name not in comparison.differing},
        last={name: [job.values.get(name) for job in jobs] for name in _last(jobs)},
        minimized={name: mode_of(name) is Mode.MIN for name in _last(jobs)},
        charts=[curves(series) for series in comparison.series[:_MAX_METRICS]] if trains else [],
        classes=_classes(comparison.evaluations),
    )


def _last(jobs: Sequence[Job]) -> list[str]:
    """Return the metrics for which any job has a last value, the most important one first."""
    names = {name for job in jobs for name in job.values}
    first = [name for name in COLUMNS[::-1] if name in names]
    return list(dict.fromkeys([*first, *in_order(names)]))[:_MAX_METRICS]


def _classes(evaluations: tuple[JobEvaluation | None, ...]) -> dict[str, list[float | None]]:
    """Return the accuracy of each job, or None if it has none, by the name of the class."""
    names = dict.fromkeys(result.title for item in evaluations if item for result in item.per_class)
    of_jobs = [
        {result.title: result.accuracy for result in item.per_class} if item else {} for item in evaluations
    ]
    return {name: [job.get(name) for job in of_jobs] for name in names}
