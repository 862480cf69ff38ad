"""The command that shows jobs' training metrics: `trainshed metrics`."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import typer

from shared.lifecycle import JobKind
from shared.schemas import JobDetail, JobMetrics, Resolution
from trainshed.cli import options
from trainshed.cli.fitting import FittedTable, Row, number
from trainshed.cli.formatting import cell, metric, short_id
from trainshed.cli.output import say, show, write_json
from trainshed.cli.references import find_job

_BARS = "▁▂▃▄▅▆▇█"
_SPARKLINE_WIDTH = 30

Names = Annotated[list[str] | None, typer.Option("--name", help="Only this metric; may be repeated.")]
ResolutionName = Annotated[Resolution, typer.Option("--resolution", help="One point per epoch or per step.")]
MaxPoints = Annotated[
    int | None,
    typer.Option(
        min=1, help="Maximum points per metric; downsampling keeps peaks.", show_default="the server's"
    ),
]
First = Annotated[
    int | None,
    typer.Option(
        "--from",
        min=0,
        help="The first epoch, or step over all epochs, from 0.",
        show_default="0",
    ),
]
Last = Annotated[
    int | None,
    typer.Option("--to", min=0, help="The last epoch or step, inclusive.", show_default="the last recorded"),
]
FileFormat = Annotated[
    Literal["csv", "ndjson"] | None, typer.Option("--format", help="Write a line of this format per point.")
]


def metrics(
    *,
    jobs: options.JobReferences,
    name: Names = None,
    resolution: ResolutionName = Resolution.EPOCH,
    max_points: MaxPoints = None,
    first: First = None,
    last: Last = None,
    file_format: FileFormat = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Show the metrics over the epochs of up to 50 jobs; with --format or --json, every point.

    Elsewhere the first epoch is 1; in CSV, NDJSON and JSON, as in --from and --to, it is 0.
    """
    ids = [find_job(server, job) for job in jobs]
    selection: dict[str, Any] = {
        "names": name or (),
        "max_points": max_points,
        "first": first,
        "last": last,
    }
    if file_format:
        typer.echo(server.metrics_file(ids, file_format, resolution, **selection), nl=False)
        return
    metrics = server.metrics_of(ids, resolution, **selection)
    if as_json:
        write_json(metrics)
        return
    without = [job.job_id for job in metrics if not any(_numbers(series.y) for series in job.series)]
    if len(without) < len(metrics):
        show(_table(metrics))
    for job_id in without:
        say(_why_none(server.job(job_id)))


def _why_none(job: JobDetail) -> str:
    if job.kind is JobKind.EVALUATE:
        return f"Job {job.id} is an evaluation, which has no curves: `trainshed show {short_id(job.id)}`."
    if job.progress and job.progress.epoch:
        return f"Job {job.id} has no points in this selection."
    return f"Job {job.id} is {job.state} and has finished no epoch."


def _table(metrics: Sequence[JobMetrics]) -> FittedTable:
    rows: Iterable[Row] = (
        {
            "Job": short_id(job.job_id),
            "Metric": cell(series.name),
            "Curve": sparkline(y),
            "First": number(metric(y[0])),
            "Last": number(metric(y[-1])),
            "Min": number(metric(min(_numbers(series.min or y)))),
            "Max": number(metric(max(_numbers(series.max or y)))),
        }
        for job in metrics
        for series in job.series
        if (y := _numbers(series.y))
    )
    return FittedTable(rows, optional=("Curve", "First", "Max", "Min"))


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def sparkline(values: Sequence[float]) -> str:
    """Return values as a line of at most `_SPARKLINE_WIDTH` bars; the lowest bar is the least value."""
    width = min(_SPARKLINE_WIDTH, len(values))
    samples = [values[(index + 1) * len(values) // width - 1] for index in range(width)]
    least, span = min(samples), max(samples) - min(samples)
    top = len(_BARS) - 1
    return "".join(_BARS[round((value - least) / span * top) if span else 0] for value in samples)
