"""Answers as DataFrames. pandas is imported only here, and only when a DataFrame is requested."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shared import schemas
from shared.schemas import Job, Metrics

if TYPE_CHECKING:
    import pandas

_OF_JOBS = ("id", "name", "kind", "state", "queue", "priority", "attempt")
_TIMES = ("created_at", "started_at", "finished_at", "duration_s")


def frame(rows: Iterable[Mapping[str, Any]], index: str | None = None) -> "pandas.DataFrame":
    """Return a DataFrame of rows, with one of their columns as its index.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("a DataFrame needs pandas: pip install pandas") from error
    table = pandas.DataFrame(list(rows))
    return table.set_index(index) if index and len(table) else table


def frame_of(items: Iterable[BaseModel]) -> "pandas.DataFrame":
    """Return a DataFrame with a row for each item; a job's row has its specification and results."""
    return frame(job_row(item) if isinstance(item, Job) else item.model_dump() for item in items)


def job_row(job: Job) -> dict[str, Any]:
    """Return a job as one row: its fields, those of its specification, and its last metrics."""
    spec = job.spec.model_dump()
    return {
        **{name: getattr(job, name) for name in _OF_JOBS},
        **spec,
        **job.values,
        "error": job.error.code if job.error else None,
        **{name: getattr(job, name) for name in _TIMES},
    }


def metrics_frame(metrics: Metrics) -> "pandas.DataFrame":
    """Return metrics with a row for each epoch or step, which is the index, and a column for each metric."""
    rows: dict[int, dict[str, Any]] = {}
    axis = str(metrics.series[0].resolution) if metrics.series else "epoch"
    for series in metrics.series:
        for x, y in zip(series.x, series.y, strict=True):
            rows.setdefault(x, {axis: x})[series.name] = y
    return frame((rows[x] for x in sorted(rows)), axis)


def sweep_frame(sweep: schemas.SweepDetail) -> "pandas.DataFrame":
    """Return a sweep with a row for each job, the best first: its parameters and value of the objective."""
    return frame(
        {**job.parameters, sweep.objective: job.value, "state": str(job.state), "job_id": job.job_id}
        for job in sweep.jobs
    )


def comparison_frame(comparison: schemas.Comparison) -> "pandas.DataFrame":
    """Return compared jobs, one per row: the fields that differ, and the last value of each metric."""
    return frame(comparison_rows(comparison), "job_id")


def comparison_rows(comparison: schemas.Comparison) -> list[dict[str, Any]]:
    """Return compared jobs, one per row."""
    return [
        {
            "job_id": job.id,
            "state": str(job.state),
            **{name: values[index] for name, values in comparison.differing.items()},
            **job.values,
        }
        for index, job in enumerate(comparison.jobs)
    ]
