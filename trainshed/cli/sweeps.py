"""The commands about sweeps: `trainshed sweep submit | list | show | cancel`."""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from shared.schemas import DEFAULT_OBJECTIVE, Mode, SweepCreate, TrainJobCreate, TrainRequest
from shared.texts import advice
from trainshed.cli import completion, options
from trainshed.cli.output import confirm, write_result
from trainshed.cli.references import find_sweep
from trainshed.cli.tables import job_counts, sweep_details, sweep_table
from trainshed.errors import UsageError

_SWEEP_CREATE: TypeAdapter[SweepCreate] = TypeAdapter(SweepCreate)

app = typer.Typer(help="Sweeps: many training jobs with different parameters.", no_args_is_help=True)

Params = Annotated[
    list[str],
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUES",
        help="Parameter and its values: `learning_rate=0.001,0.01`. With --count also a range: "
        "`batch_size=32..512`, or on a log scale `learning_rate=log:0.0001..0.1`. May be repeated.",
    ),
]
Count = Annotated[
    int | None,
    typer.Option(min=1, help="Number of jobs, with random values.", show_default="every combination"),
]
SweepReference = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="The sweep's id, the end of its id, or `last`.",
        autocompletion=completion.sweeps,
    ),
]
Metric = Annotated[str, typer.Option(help="Metric to rank jobs by: any that they record.")]
BestIs = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        help="Whether its least or its greatest value is the best.",
        show_default="by its name: the least of a loss or an error",
    ),
]


@app.command()
def submit(
    *,
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
    tags: options.Tags = None,
    queue: options.Queue = None,
    priority: options.PriorityName = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Submit a training job for every combination of values, or for random values."""
    spec, job = options.given(TrainRequest, locals()), options.given(TrainJobCreate, locals())
    strategy = {"strategy": "grid"} if count is None else {"strategy": "random", "count": count}
    parameters = _parameters(param, with_ranges=count is not None)
    request = _SWEEP_CREATE.validate_python({**strategy, **job, "spec": spec, "parameters": parameters})
    sweep = server.submit_sweep(request)
    follow_up = f"Show it with `trainshed sweep show {sweep.id}`."
    confirm(sweep, f"Sweep {sweep.id} has {len(sweep.jobs):,} jobs. {follow_up}", as_json=as_json)


@app.command(name="list")
def list_sweeps(
    *,
    metric: Metric = DEFAULT_OBJECTIVE,
    mode: BestIs = None,
    mine: options.Mine = False,
    submitted_by: options.SubmittedBy = None,
    limit: options.Limit = 20,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """List sweeps, newest first, each with its best job."""
    by = options.whose(submitted_by, mine=mine)
    newest = list(islice(server.sweeps(metric, mode=mode, submitted_by=by), limit))
    none = "No sweeps match." if by else "No sweeps."
    write_result(newest, sweep_table, as_json=as_json, if_empty=none)


@app.command(name="show")
def show_sweep(
    *,
    sweep: SweepReference,
    metric: Metric = DEFAULT_OBJECTIVE,
    mode: BestIs = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Show a sweep's jobs, the best first."""
    detail = server.sweep(find_sweep(server, sweep), metric, mode=mode)
    write_result(detail, sweep_details, as_json=as_json)


@app.command()
def cancel(sweep: SweepReference, server: options.Server, as_json: options.Json = False) -> None:
    """Cancel every unfinished job of a sweep."""
    cancelled = server.cancel_sweep(find_sweep(server, sweep))
    confirm(cancelled, f"Sweep {cancelled.id}: {job_counts(cancelled)}.", as_json=as_json)


def _parameters(texts: Sequence[str], *, with_ranges: bool) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for text in texts:
        name, values = _parameter(text)
        if name in parameters:
            raise UsageError(f"--param {name} is given twice: write all of its values in one")
        if isinstance(values, dict) and not with_ranges:
            raise UsageError(f"--param {text} is a range, which needs --count, the number of jobs")
        parameters[name] = values
    return parameters


def _parameter(text: str) -> tuple[str, Any]:
    name, separator, values = text.partition("=")
    if not separator:
        raise UsageError(f"--param {text} has no values: write NAME=VALUE,VALUE or NAME=MIN..MAX")
    if name not in TrainRequest.model_fields:
        raise UsageError(
            f"--param {name} is not a parameter: {advice(name, TrainRequest.model_fields, 'parameters')}"
        )
    if ".." in values:
        least, _, greatest = values.removeprefix("log:").partition("..")
        ends = {"min": options.json_or_text(least), "max": options.json_or_text(greatest)}
        return name, {**ends, "log": values.startswith("log:")}
    return name, tuple(map(options.json_or_text, values.split(",")))
