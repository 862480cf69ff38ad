"""The commands that look at what came out of jobs: models, predictions, comparisons."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from shared.schemas import ModelReference
from trainshed.cli import options, tables
from trainshed.cli.output import say, show, write_json
from trainshed.cli.references import find_job, find_model
from trainshed.client import Client
from trainshed.errors import UsageError

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A PNG or JPEG file, of any size.", show_default=False)
]
OfModel = Annotated[
    str | None,
    typer.Option("--model", help="The model's id or alias, or its job.", show_default="the newest model"),
]
Surely = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help='Below it "no digit found".', show_default="as the model was trained with"
    ),
]
Jobs = Annotated[
    list[str],
    typer.Argument(metavar="JOB...", help="Two to ten jobs, each as for `show`.", show_default=False),
]
ModelCount = Annotated[int, typer.Option("--limit", min=1, help="How many models at most, newest first.")]


def models(
    ctx: typer.Context, limit: ModelCount = 20, url: options.Url = None, as_json: options.Json = False
) -> None:
    """List trained models, newest first."""
    with options.server(ctx, url) as server:
        found = list(islice(server.models(page_size=min(limit, 100)), limit))
    if as_json:
        write_json(found)
    elif found:
        show(tables.models_table(found))
    else:
        say("No model was trained yet: `trainshed train` trains one.")


def predict(
    ctx: typer.Context,
    file: File,
    model: OfModel = None,
    threshold: Surely = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Say which digit a picture shows."""
    try:
        picture = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    with options.server(ctx, url) as server:
        reference = find_model(server, model) if model else _newest(server)
        found = server.predict(reference, picture, threshold=threshold)
    if as_json:
        write_json(found)
    else:
        show(tables.prediction(found.data[0]))


def compare(ctx: typer.Context, jobs: Jobs, url: options.Url = None, as_json: options.Json = False) -> None:
    """Show jobs side by side: what differs in them, and what came out."""
    with options.server(ctx, url) as server:
        found = server.compare([find_job(server, job) for job in jobs])
    if as_json:
        write_json(found)
    else:
        show(tables.comparison(found))


def misclassified(
    ctx: typer.Context,
    job: options.JobReference,
    label: Annotated[int | None, typer.Option(help="Only images of this class.", show_default=False)] = None,
    predicted: Annotated[
        int | None, typer.Option(help="Only those taken for this class.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List the test images that a job's evaluation got wrong; with --json, the images too."""
    with options.server(ctx, url) as server:
        wrong = server.misclassified(find_job(server, job), label=label, predicted=predicted)
        found = list(islice(wrong, limit))
    if as_json:
        write_json(found)
    elif found:
        show(tables.misclassified_table(found))
    else:
        say("No such images.")


def _newest(server: Client) -> ModelReference:
    for model in server.models(page_size=1):
        return model.id
    raise UsageError("there is no model yet: `trainshed train` trains one")
