"""Jobs side by side: what differs between them, their curves, their results for each class."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.deps import COMMA_SEPARATED, EndOfEventsDep, ServicesDep
from api.http.auth import READ
from api.jobs.comparison import compare
from api.web.curves import curves
from api.web.pages import Stream, render
from shared.lifecycle import TERMINAL, JobKind
from shared.schemas import Comparison, IdReference, JobEvaluation
from shared.store import activity
from shared.store.references import find_jobs

router = APIRouter(include_in_schema=False, dependencies=[READ])

MAX_JOBS = 10

_LAST = ("val_accuracy", "accuracy", "val_loss", "loss")  # of `LastMetrics`

_Ids = Annotated[tuple[IdReference, ...], COMMA_SEPARATED, Query(alias="job")]
_IdsOfApi = Annotated[tuple[IdReference, ...], COMMA_SEPARATED, Query(alias="jobs")]


@router.get("/compare")
def show_comparison(
    request: Request, services: ServicesDep, end: EndOfEventsDep, chosen: _Ids = (), named: _IdsOfApi = ()
) -> Response:
    """Show two to ten jobs side by side; of fewer or more, how to choose them.

    They are named as a form's checkboxes do, `job=a&job=b`, or as `/v1/compare` wants it, `jobs=a,b`.
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
        last={name: [getattr(job.metrics, name, None) for job in jobs] for name in _LAST},
        charts=[curves(series) for series in comparison.series] if trains else [],
        results=_results(comparison.evaluations),
        classes=_classes(comparison.evaluations),
    )


def _results(evaluations: tuple[JobEvaluation | None, ...]) -> dict[str, list[float | None]]:
    """Return the results of each job by name, without the accuracy, which its job has too."""
    names = dict.fromkeys(name for item in evaluations if item for name in item.values)
    names.pop("accuracy", None)
    return {name: [item.values.get(name) if item else None for item in evaluations] for name in names}


def _classes(evaluations: tuple[JobEvaluation | None, ...]) -> dict[str, list[float | None]]:
    """Return the accuracy of each job by the name of the class; None where there is none."""
    names = dict.fromkeys(result.title for item in evaluations if item for result in item.per_class)
    of_jobs = [
        {result.title: result.accuracy for result in item.per_class} if item else {} for item in evaluations
    ]
    return {name: [job.get(name) for job in of_jobs] for name in names}
