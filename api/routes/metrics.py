"""Metrics of jobs, and comparisons of jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, Field
from sqlalchemy.orm import Session

from api.deps import COMMA_SEPARATED, JobId, ServicesDep
from api.http.auth import READ
from api.http.problems import documented
from api.http.rendered import KeepDep, keep_finished
from api.jobs.comparison import compare
from api.jobs.metric_series import downsample, to_csv, to_ndjson
from shared.errors import JobNotFound, UnknownMetric
from shared.schemas import Comparison, IdReference, JobMetrics, ManyMetrics, Metric, Metrics, Resolution
from shared.store import job_queries, metrics, references

router = APIRouter(prefix="/v1", tags=["metrics"], dependencies=[READ])


class Format(StrEnum):
    """The format of metrics."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


def _distinct(values: Any) -> Any:
    return list(dict.fromkeys(values)) if isinstance(values, list) else values


_DISTINCT = BeforeValidator(_distinct)  # named before COMMA_SEPARATED, which therefore runs first


Names = Annotated[
    tuple[Metric, ...],
    _DISTINCT,
    COMMA_SEPARATED,
    Query(description="The metrics to return, separated by commas; all by default."),
]
MaxPoints = Annotated[
    int,
    Query(
        ge=1,
        le=100_000,
        description="The number of points of each metric. If it has more, each point in the response is the "
        "last of several, with their `min` and `max`.",
    ),
]
_MAX_X = 2**31 - 1
From = Annotated[
    int,
    Query(alias="from", ge=0, le=_MAX_X, description="The first epoch, or step over all epochs, from 0."),
]
To = Annotated[
    int | None,
    Query(alias="to", ge=0, le=_MAX_X, description="The last one, inclusive; by default the last recorded."),
]
FormatQuery = Annotated[Format, Query(alias="format", description="CSV and NDJSON have one line a point.")]
JobIds = Annotated[
    list[IdReference],
    _DISTINCT,
    COMMA_SEPARATED,
    Query(
        description="The ids of the jobs, or at least 4 first or last digits of each, separated by commas."
    ),
]

_TABLES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The metrics",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


@router.get(
    "/jobs/{job_id:id}/metrics",
    response_model=Metrics,
    responses={**documented(JobNotFound, UnknownMetric), **_TABLES},
)
def get_metrics(
    services: ServicesDep,
    keep: KeepDep,
    job_id: JobId,
    resolution: Resolution = Resolution.EPOCH,
    names: Names = (),
    max_points: MaxPoints = 10_000,
    first: From = 0,
    last: To = None,
    format_: FormatQuery = Format.JSON,
) -> Metrics | Response:
    """Get the metrics that a training job has recorded so far, all or those of a range of epochs or steps."""

    selection = _Selection(resolution, names, max_points, first, last)

    def read(session: Session) -> tuple[list[JobMetrics], int | None]:
        return _metrics(session, [job_id], selection), job_queries.final_version(session, job_id)

    [job], version = services.database.read(read)
    keep_finished(keep, job_id, version)
    return Metrics(series=job.series) if format_ is Format.JSON else _table([job], format_)


@router.get(
    "/metrics", response_model=ManyMetrics, responses={**documented(JobNotFound, UnknownMetric), **_TABLES}
)
def get_many_metrics(
    services: ServicesDep,
    jobs: Annotated[JobIds, Field(min_length=1, max_length=50)],
    resolution: Resolution = Resolution.EPOCH,
    names: Names = (),
    max_points: MaxPoints = 1_000,
    first: From = 0,
    last: To = None,
    format_: FormatQuery = Format.JSON,
) -> ManyMetrics | Response:
    """Get the metrics of up to 50 jobs, all or those of a range of epochs or steps."""
    selection = _Selection(resolution, names, max_points, first, last)
    job_metrics = services.database.read(
        lambda session: _metrics(session, references.find_jobs(session, jobs), selection)
    )
    return ManyMetrics(data=tuple(job_metrics)) if format_ is Format.JSON else _table(job_metrics, format_)


@router.get("/compare", responses=documented(JobNotFound))
def compare_jobs(
    services: ServicesDep, jobs: Annotated[JobIds, Field(min_length=2, max_length=10)]
) -> Comparison:
    """Compare two to ten jobs: the differences in their specifications, their metrics, their evaluations."""
    return services.database.read(lambda session: compare(session, references.find_jobs(session, jobs)))


@dataclass(frozen=True)
class _Selection:
    """The requested metrics, their range of epochs or steps, and the maximum number of points of each."""

    resolution: Resolution
    names: tuple[Metric, ...]
    max_points: int
    first: int
    last: int | None


def _metrics(session: Session, job_ids: Sequence[UUID], selection: _Selection) -> list[JobMetrics]:
    if selection.names:
        metrics.require(session, job_ids, selection.names)
    return [_of_job(session, job_id, selection) for job_id in job_ids]


def _of_job(session: Session, job_id: UUID, selection: _Selection) -> JobMetrics:
    resolution, first = selection.resolution, selection.first
    arrays = metrics.read(session, job_id, resolution, selection.names, first=first, last=selection.last)
    return JobMetrics(job_id=job_id, series=downsample(arrays, resolution, selection.max_points, first=first))


def _table(metrics: list[JobMetrics], format_: Format) -> Response:
    if format_ is Format.CSV:
        return Response(to_csv(metrics), media_type="text/csv")
    return Response(to_ndjson(metrics), media_type="application/x-ndjson")
