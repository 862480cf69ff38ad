"""The commands about sweeps: submit one, list them, look at one, cancel one."""

import json
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import TypeAdapter

from shared.schemas import Objective, SweepCreate
from trainshed.cli import options, tables
from trainshed.cli.output import say, show, write_json
from trainshed.errors import UsageError

_FORM: TypeAdapter[SweepCreate] = TypeAdapter(SweepCreate)
_LISTED = 20

app = typer.Typer(help="Many training jobs that differ in some parameters.", no_args_is_help=True)

Params = Annotated[
    list[str],
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUES",
        help="What is swept: `learning_rate=0.001,0.01`; with --count also a range, `batch_size=32..512`, or "
        "by orders of magnitude, `learning_rate=log:0.0001..0.1`. May be given more than once.",
        show_default=False,
    ),
]
Count = Annotated[
    int | None,
    typer.Option(min=1, help="So many jobs, drawn by chance.", show_default="every combination"),
]
SweepId = Annotated[UUID, typer.Argument(metavar="SWEEP", help="The sweep's id.", show_default=False)]
Metric = Annotated[Objective, typer.Option(help="What the jobs are compared by.")]


@app.command()
def submit(
    ctx: typer.Context,
    param: Params,
    count: Count = None,
    dataset: options.Dataset = None,
    model: options.Model = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    optimizer: options.OptimizerName = None,
    seed: options.Seed = None,
    name: options.Name = None,
    tag: options.Tag = None,
    queue: options.Queue = None,
    priority: options.PriorityName = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Submit a training job for every combination of values, or for some drawn by chance."""
    spec = options.given(
        dataset=dataset,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimizer=optimizer,
        seed=seed,
    )
    strategy = {"strategy": "grid"} if count is None else {"strategy": "random", "count": count}
    asked = options.given(name=name, tags=tag, queue=queue, priority=priority)
    request = _FORM.validate_python(
        {**strategy, **asked, "spec": spec, "parameters": dict(map(_parameter, param))}
    )
    with options.server(ctx, url) as server:
        sweep = server.submit_sweep(request)
    if as_json:
        write_json(sweep)
    else:
        say(f"Sweep {sweep.id} has {len(sweep.jobs):,} jobs. See `trainshed sweep show {sweep.id}`.")


@app.command(name="list")
def list_sweeps(
    ctx: typer.Context,
    metric: Metric = "evaluation_accuracy",
    limit: Annotated[int, typer.Option(min=1, help="How many at most, newest first.")] = _LISTED,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List sweeps, newest first, each with its best job."""
    with options.server(ctx, url) as server:
        found = list(islice(server.sweeps(metric), limit))
    if as_json:
        write_json(found)
    elif found:
        show(tables.sweeps_table(found))
    else:
        say("No sweeps.")


@app.command(name="show")
def show_sweep(
    ctx: typer.Context,
    sweep: SweepId,
    metric: Metric = "evaluation_accuracy",
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Show a sweep's jobs, the best first."""
    with options.server(ctx, url) as server:
        found = server.sweep(sweep, metric)
    if as_json:
        write_json(found)
    else:
        show(tables.sweep_sheet(found))


@app.command()
def cancel(
    ctx: typer.Context, sweep: SweepId, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Cancel every job of a sweep that is not over."""
    with options.server(ctx, url) as server:
        found = server.cancel_sweep(sweep)
    if as_json:
        write_json(found)
    else:
        say(f"Sweep {found.id}: {tables.states(found)}.")


def _parameter(text: str) -> tuple[str, Any]:
    name, separator, values = text.partition("=")
    if not separator:
        raise UsageError(f"--param {text} names no values: write NAME=VALUE,VALUE or NAME=MIN..MAX")
    if ".." in values:
        least, _, greatest = values.removeprefix("log:").partition("..")
        return name, {"min": _value(least), "max": _value(greatest), "log": values.startswith("log:")}
    return name, tuple(map(_value, values.split(",")))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
