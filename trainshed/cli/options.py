"""The options and arguments of the command line, each with its help; and the server that they name."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.schemas import ModelFormat, ModelKind, ModelPatch, Optimizer, Priority, TrainRequest
from trainshed.client import Client


def _spec(field: str, text: str, default: str = "") -> Any:
    """The option for a field of TrainRequest; its default is shown, and left to the server."""
    value = TrainRequest.model_fields[field].default
    shown = default or (False if value is None else str(value))
    return typer.Option(help=text, show_default=shown, rich_help_panel="What is trained and measured")


def _job(text: str, default: str | bool = False, *names: str) -> Any:
    """The option for a field that jobs of every kind have."""
    return typer.Option(*names, help=text, show_default=default, rich_help_panel="The job")


Url = Annotated[
    str | None,
    typer.Option(
        envvar="TRAINSHED_URL",
        help="The server.",
        show_default="http://HOST:PORT of the settings",
    ),
]
API_KEY = f"{__name__}.api_key"  # where the context keeps it for every command
ApiKey = Annotated[
    str | None,
    typer.Option(
        help="Shown to the server. Better set TRAINSHED_API_KEY: other users see a command's options.",
        show_default=False,
        metavar="KEY",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout, and nothing else.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Submit only, and do not follow the job.")]

JobReference = Annotated[
    str,
    typer.Argument(metavar="JOB", help="The job's id, the end of its id, or `last`.", show_default=False),
]
ModelReference = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="The model's id or alias, or its job.", show_default=False),
]

Dataset = Annotated[str | None, _spec("dataset", "`mnist`, `digits`, or one that the server's owner added.")]
Model = Annotated[ModelKind | None, _spec("model", "The architecture.")]
TrainSize = Annotated[int | None, _spec("train_size", "Training images.", "the dataset's")]
ValidationSize = Annotated[
    int | None, _spec("validation_size", "Images measured after each epoch.", "the dataset's")
]
EvaluationSize = Annotated[
    int | None, _spec("evaluation_size", "Images of the evaluation at the end.", "the dataset's")
]
Epochs = Annotated[int | None, _spec("epochs", "Passes over the training images.")]
BatchSize = Annotated[int | None, _spec("batch_size", "Images a step.")]
LearningRate = Annotated[float | None, _spec("learning_rate", "Of the optimizer.")]
OptimizerName = Annotated[Optimizer | None, _spec("optimizer", "How weights follow their gradients.")]
Seed = Annotated[int | None, _spec("seed", "Decides every random choice.", "drawn")]
Threshold = Annotated[
    float | None,
    _spec("threshold", 'Predictions with a lower probability, 0 to 1, count as "no digit found".'),
]

Name = Annotated[str | None, _job("What people call it.")]
Tag = Annotated[list[str] | None, _job("A tag; may be given more than once.")]
Queue = Annotated[str | None, _job("Which workers may take it.", "default")]
PriorityName = Annotated[Priority | None, _job("Which jobs of a queue go first.", "normal", "--priority")]
MaxRuntime = Annotated[float | None, _job("Seconds that one attempt may run.")]
MaxAttempts = Annotated[int | None, _job("Failed attempts after which it fails.", "3")]

Limit = Annotated[int, typer.Option(min=1, help="How many jobs at most.")]
AliasName = Annotated[
    str | None, typer.Option("--alias", help="Name it, such as `champion`; moved from the one that has it.")
]
Description = Annotated[str | None, typer.Option("--description", help="Describe it.")]
Download = Annotated[
    ModelFormat | None, typer.Option(help="Download the model in this form.", show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="The file to write the download to.",
        show_default="model-ID.FORMAT",
        dir_okay=False,
        writable=True,
    ),
]


def given(**values: Any) -> dict[str, Any]:
    """The options that were given; the server knows the others' defaults."""
    return {name: value for name, value in values.items() if value is not None}


def changes_of_model(alias: str | None, description: str | None) -> ModelPatch | None:
    """What is to be changed of a model; None if nothing is. An empty text takes away what there is."""
    given = {"alias": alias, "description": description}
    changes = {name: value or None for name, value in given.items() if value is not None}
    return ModelPatch.model_validate(changes) if changes else None


def server(ctx: typer.Context, url: str | None) -> Client:
    """The server that `--url` names. Tests hand in what connects to it, as the context's object."""
    connect: Callable[..., Client] = ctx.obj or Client
    return connect(url, api_key=ctx.meta.get(API_KEY))
