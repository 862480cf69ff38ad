"""Options and arguments that several commands share, with their help texts."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from shared.schemas import ModelKind, Optimizer, Priority, SpecChanges, TrainJobCreate, TrainRequest
from shared.schemas.limits import number_limits, properties
from shared.schemas.refusals import told
from trainshed.cli import completion
from trainshed.cli.formatting import seconds_until
from trainshed.cli.output import say
from trainshed.client import Client
from trainshed.errors import UsageError


def _client(ctx: typer.Context, url: str) -> Client:
    """Return a client that is closed after the command; tests replace `Client` by the context's object."""
    ctx.meta[COMMAND] = ctx.command
    connect: Callable[..., Client] = ctx.obj or Client
    return ctx.with_resource(connect(url or ctx.meta.get(URL), api_key=ctx.meta.get(API_KEY)))


def _option(
    schema: type[BaseModel],
    panel: str,
    field: str,
    text: str,
    default: str = "",
    *names: str,
    autocompletion: Callable[..., Any] | None = None,
) -> Any:
    """Return the option for a field of a request; the help shows the default, which the server applies."""
    value = schema.model_fields[field].default
    limits = number_limits(properties(schema)[field])
    if " to " in limits and limits not in text:
        text = f"{text.removesuffix('.')}, {limits}."
    shown = default or (str(value) if value else False)
    return typer.Option(
        *names, help=text, show_default=shown, rich_help_panel=panel, autocompletion=autocompletion
    )


_spec = partial(_option, TrainRequest, "Training and evaluation")
_job = partial(_option, TrainJobCreate, "Job")

COMMAND = f"{__name__}.command"  # key of the running command in the context's `meta`
API_KEY = f"{__name__}.api_key"  # key of the value of `--api-key` in the context's `meta`
URL = f"{__name__}.url"  # key of the value of `--url` in the context's `meta`
ANYWHERE = ("--url", "--api-key")
"""Options that may be given before or after the command."""
Url = Annotated[
    str | None,
    typer.Option(help="URL of the server; may be given anywhere.", show_default=False, metavar="URL"),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        help="Key to send to the server; may be given anywhere. Prefer TRAINSHED_API_KEY: other users can "
        "see a command's options.",
        metavar="KEY",
    ),
]
# a command gets a client in place of the URL
Server = Annotated[
    Client,
    typer.Option(
        "--url",
        help="URL of the server. (`--api-key KEY`, too, may be given here.)",
        show_default="TRAINSHED_URL, or the API on this host",
        metavar="URL",
        default_factory=str,
        parser=str,
        callback=_client,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout, and nothing else.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Only submit the job, without following it.")]
Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Continue until the job is finished; Ctrl-C leaves it running.")
]
Mine = Annotated[bool, typer.Option("--mine", help="Only what the key in use has submitted.")]
SubmittedBy = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Only what keys of this name, or with this id, have submitted."),
]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of results.")]

JobReference = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="The job's id, the end of its id, or `last`.", autocompletion=completion.jobs
    ),
]
JobReferences = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB...",
        help="Each a job's id, the end of its id, or `last`.",
        autocompletion=completion.jobs,
    ),
]
AnyJobReferences = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[JOB]...",
        autocompletion=completion.jobs,
        help="Each a job, as for `show`; default: all jobs that are not finished.",
    ),
]
ModelReference = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="The model's id or alias, or its job.", autocompletion=completion.models
    ),
]

Dataset = Annotated[str | None, _spec("dataset", "`mnist`, `digits`, or a dataset of the server's settings.")]
Model = Annotated[ModelKind | None, _spec("model", "Architecture of the model.")]
TrainSize = Annotated[int | None, _spec("train_size", "Number of training images.", "the dataset's")]
ValidationSize = Annotated[
    int | None, _spec("validation_size", "Number of validation images.", "the dataset's")
]
EvaluationSize = Annotated[
    int | None, _spec("evaluation_size", "Number of images of the final evaluation.", "the dataset's")
]
Epochs = Annotated[int | None, _spec("epochs", "Passes over the training images.")]
BatchSize = Annotated[int | None, _spec("batch_size", "Images per step.")]
LearningRate = Annotated[float | None, _spec("learning_rate", "Learning rate of the optimizer.")]
OptimizerName = Annotated[Optimizer | None, _spec("optimizer", "Optimization algorithm.")]
Seed = Annotated[int | None, _spec("seed", "Seed of all randomness.", "random")]
Threshold = Annotated[
    float | None,
    _spec("threshold", 'Predictions with a lower probability, 0 to 1, count as "no digit found".'),
]

KeepWeights = Annotated[
    bool | None, _spec("keep_weights", "Store the weights after each epoch.", "", "--keep-weights")
]

Name = Annotated[str | None, _job("name", "Name of the job.")]
Tags = Annotated[list[str] | None, _job("tags", "Tag; may be repeated.", "", "--tag")]
Queue = Annotated[
    str | None,
    _job("queue", "Queue, which decides which workers may run it.", autocompletion=completion.queues),
]
PriorityName = Annotated[Priority | None, _job("priority", "Priority within the queue.")]
MaxRuntime = Annotated[
    float | None, _job("max_runtime_s", "Seconds that each attempt may run.", "", "--max-runtime")
]
MaxAttempts = Annotated[int | None, _job("max_attempts", "Failed attempts after which the job fails.")]


def time_of(text: str) -> datetime:
    """Parse a date or a time, in this host's time zone unless it names another.

    Raises:
        UsageError: the text is neither.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a time, such as 2026-01-31 or 2026-01-31T12:00") from error


def note_past(at: datetime | None) -> None:
    """Print a note if the time of --at is past, so that the job may start at once."""
    if at is not None and seconds_until(at) < 0:
        say(f"--at {at.isoformat(timespec='minutes')} is in the past: the job may start at once.", "yellow")


At = Annotated[
    datetime | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Do not start it before this time, such as 2026-01-31T22:00.",
        parser=time_of,
        rich_help_panel="Job",
    ),
]
After = Annotated[
    list[str] | None,
    typer.Option(
        "--after",
        metavar="JOB",
        help="Start it after this job has succeeded; may be repeated.",
        rich_help_panel="Job",
        autocompletion=completion.jobs,
    ),
]


def whose(submitted_by: str | None, *, mine: bool) -> str | None:
    """Return a list's filter `submitted_by` from the options --mine and --submitted-by.

    Raises:
        UsageError: both options are given.
    """
    if mine and submitted_by:
        raise UsageError("--mine and --submitted-by: give one of them")
    return "me" if mine else submitted_by


def at_most(text: str) -> int | str:
    """Parse a limit of running jobs: a number from 1, or `none`.

    Raises:
        typer.BadParameter: the text is neither.
    """
    if text == NO_LIMIT:
        return text
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise typer.BadParameter(f"{text!r} is neither a number from 1 nor `{NO_LIMIT}`")


NO_LIMIT = "none"
"""The argument that removes a limit, in place of a number."""


def given(schema: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given for a schema's fields; the server applies the other defaults."""
    return {name: options[name] for name in schema.model_fields if options.get(name) is not None}


_NAMES = {"tags": "tag", "expires_in_s": "days", "model_id": "model"}  # parameters, by fields of other names


def typed(command: Any, path: Sequence[int | str]) -> str:
    """Return a command's name for the field at a path: its option or argument, or else the field; or "".

    Args:
        command: the parser's command; None if no command has run.
        path: the path within the request, or a parameter of the query; it may end with indexes of a list.
    """
    names = [str(part) for part in path if not str(part).isdigit()]
    name = names[-1] if names else ""
    if name in ("", "spec"):
        return ""
    parameters = {each.name: each for each in command.params} if command else {}
    if "parameters" in names and "param" in parameters:  # a sweep's
        return f"--param {names[names.index('parameters') + 1]}"
    own = parameters.get(name) or parameters.get(_NAMES.get(name, ""))
    if own is not None:
        return str(own.opts[0]) if own.param_type_name == "option" else (own.metavar or own.name).upper()
    return f"--set {name}" if "override" in parameters else name


def advise(error: Any) -> None:
    """Reword a parser's error: our text for an invalid value, `--set` for a field that a clone changes."""
    if isinstance(error.__cause__, ValidationError):
        error.message = told("", error.__cause__.errors()[0])
    field = getattr(error, "option_name", "").removeprefix("--").replace("-", "_")
    command = error.ctx.command if getattr(error, "ctx", None) else None
    if field in SpecChanges.model_fields and typed(command, [field]) == f"--set {field}":
        error.possibilities = None
        error.message = f"No such option: {error.option_name}; replace a field by `--set {field}=VALUE`"


def json_or_text(value: str) -> Any:
    """Parse a value that is JSON, such as 20 or null, or else a word, such as adam."""
    try:
        return json.loads(value)
    except ValueError:
        return value
