"""The command that shows a job's curves: `trainshed metrics`."""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from shared.schemas import JobMetrics, MetricName, Resolution
from trainshed.cli import options
from trainshed.cli.output import show, write_json
from trainshed.cli.references import find_job
from trainshed.cli.tables import SHORT_ID

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 30  # of a curve that is drawn, in characters

Jobs = Annotated[
    list[str],
    typer.Argument(metavar="JOB...", help="Up to 50 jobs, each as for `show`.", show_default=False),
]
Names = Annotated[
    list[MetricName] | None,
    typer.Option("--name", help="Only this curve; may be given more than once.", show_default=False),
]
Points = Annotated[
    int | None,
    typer.Option(min=1, help="Of each curve at most; no peak is lost.", show_default="the server's"),
]
Lines = Annotated[
    Literal["csv", "ndjson"] | None,
    typer.Option("--format", help="Write every point as a line of such a file.", show_default=False),
]


def metrics(
    ctx: typer.Context,
    jobs: Jobs,
    name: Names = None,
    resolution: Annotated[Resolution, typer.Option(help="A point an epoch, or a step.")] = Resolution.EPOCH,
    max_points: Points = None,
    lines: Lines = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Show how loss and accuracy went; or write the points, with --format or --json."""
    with options.server(ctx, url) as server:
        ids = [find_job(server, job) for job in jobs]
        if lines:
            table = server.metrics_file(ids, lines, resolution.value, names=name or (), max_points=max_points)
            typer.echo(table, nl=False)
            return
        found = server.metrics_of(ids, resolution.value, names=name or (), max_points=max_points)
    if as_json:
        write_json(found)
    else:
        show(_table(found))


def _table(found: Sequence[JobMetrics]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("Job", "Curve", ""):
        table.add_column(column, no_wrap=True)
    for column in ("First", "Last", "Min", "Max"):
        table.add_column(column, justify="right", no_wrap=True)
    for of_job in found:
        for one in of_job.series:
            if one.y:
                least, greatest = min(one.min or one.y), max(one.max or one.y)
                numbers = (f"{value:.4f}" for value in (one.y[0], one.y[-1], least, greatest))
                table.add_row(str(of_job.job_id)[-SHORT_ID:], one.name, Text(drawn(one.y)), *numbers)
    return table


def drawn(values: Sequence[float]) -> str:
    """A curve as a line of bars, the least value the lowest; of many values every so-manieth."""
    width = min(_WIDTH, len(values))
    shown = [values[(at + 1) * len(values) // width - 1] for at in range(width)]
    least, span = min(shown), max(shown) - min(shown)
    steps = len(_BARS) - 1
    return "".join(_BARS[round((value - least) / span * steps) if span else 0] for value in shown)
