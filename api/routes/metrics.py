"""Curves: of one job, of several, and several jobs side by side."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, Field
from sqlalchemy.orm import Session

from api.deps import JobId, ServicesDep
from api.http.problems import documented
from api.jobs.comparison import compare
from api.jobs.metric_series import series, to_csv, to_ndjson
from shared.errors import JobNotFound
from shared.schemas import Comparison, JobMetrics, ManyMetrics, MetricName, Metrics, Resolution
from shared.store import metrics

router = APIRouter(prefix="/v1", tags=["metrics"])


class Format(StrEnum):
    """How curves are written."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


def _split(values: Any) -> Any:
    """`a,b` as two values, as well as `a` and `b`."""
    if not isinstance(values, list):
        return values
    return list(dict.fromkeys(part for value in values for part in str(value).split(",")))


Names = Annotated[
    tuple[MetricName, ...],
    BeforeValidator(_split),
    Query(description="Which curves, with commas between them; all where none is named."),
]
MaxPoints = Annotated[
    int,
    Query(
        ge=1,
        le=100_000,
        description="Of each curve. Where it has more, each point here is the last of several, and `min` and "
        "`max` are theirs.",
    ),
]
AskedFormat = Annotated[Format, Query(alias="format", description="CSV and NDJSON have a line a point.")]
_JOBS = "Jobs' ids, with commas between them."

_TABLES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The curves",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


@router.get(
    "/jobs/{job_id:uuid}/metrics",
    response_model=Metrics,
    responses={**documented(JobNotFound), **_TABLES},
)
def get_metrics(
    services: ServicesDep,
    job_id: JobId,
    resolution: Resolution = Resolution.EPOCH,
    names: Names = (),
    max_points: MaxPoints = 10_000,
    format_: AskedFormat = Format.JSON,
) -> Metrics | Response:
    """A training job's curves so far."""
    found = services.database.read(lambda session: _metrics(session, job_id, resolution, names, max_points))
    return Metrics(series=found.series) if format_ is Format.JSON else _table([found], format_)


@router.get(
    "/metrics",
    response_model=ManyMetrics,
    responses={**documented(JobNotFound), **_TABLES},
)
def get_many_metrics(
    services: ServicesDep,
    jobs: Annotated[
        list[UUID], BeforeValidator(_split), Field(min_length=1, max_length=50), Query(description=_JOBS)
    ],
    resolution: Resolution = Resolution.EPOCH,
    names: Names = (),
    max_points: MaxPoints = 1_000,
    format_: AskedFormat = Format.JSON,
) -> ManyMetrics | Response:
    """The curves of up to 50 jobs."""
    found = services.database.read(
        lambda session: [_metrics(session, job_id, resolution, names, max_points) for job_id in jobs]
    )
    return ManyMetrics(data=tuple(found)) if format_ is Format.JSON else _table(found, format_)


@router.get("/compare", responses=documented(JobNotFound))
def compare_jobs(
    services: ServicesDep,
    jobs: Annotated[
        list[UUID], BeforeValidator(_split), Field(min_length=2, max_length=10), Query(description=_JOBS)
    ],
) -> Comparison:
    """Two to ten jobs side by side: what differs in their specifications, their curves and evaluations."""
    return services.database.read(lambda session: compare(session, jobs))


def _metrics(
    session: Session, job_id: UUID, resolution: Resolution, names: tuple[MetricName, ...], max_points: int
) -> JobMetrics:
    found = metrics.read(session, job_id, resolution, names or tuple(MetricName))
    return JobMetrics(job_id=job_id, series=series(found, resolution, max_points))


def _table(metrics: list[JobMetrics], format_: Format) -> Response:
    if format_ is Format.CSV:
        return Response(to_csv(metrics), media_type="text/csv")
    return Response(to_ndjson(metrics), media_type="application/x-ndjson")
