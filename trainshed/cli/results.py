"""The commands about results: `trainshed models`, `model`, `predict`, `compare`, `misclassified`."""

import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from shared.schemas import ModelDetail, ModelPatch, ModelReference, ModelSummary
from trainshed.cli import completion, options
from trainshed.cli.evaluation_tables import comparison_table, misclassified_table, prediction
from trainshed.cli.formatting import decimal, short_id
from trainshed.cli.output import say, show, write_json, write_result
from trainshed.cli.references import find_job, find_model, if_exists
from trainshed.cli.tables import model_details, model_table
from trainshed.client import Client
from trainshed.errors import UsageError
from trainshed.operations.base import valid
from trainshed.operations.fields import ModelChanges

_MAX_PAGE_SIZE = 100  # the server's limit
_STDOUT = Path("-")
_TFJS = "tfjs"  # a model for TensorFlow.js, in two files


Alias = Annotated[
    str | None,
    typer.Option(help='Set the alias, such as `champion`, taken from the model that has it; "" removes it.'),
]
Description = Annotated[str | None, typer.Option(help='Set the description; "" removes it.')]
Download = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Download this file of the model: `keras`, `onnx`, or its name; `tfjs` is a folder.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Write the download to this file or folder; `-` is stdout.",
        show_default="model-ID.FORMAT, or the file's name",
        writable=True,
    ),
]
ImageFile = Annotated[Path, typer.Argument(metavar="FILE", help="PNG or JPEG file, of any size.")]
PredictingModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The model's id or alias, or its job.",
        show_default="the newest model",
        autocompletion=completion.models,
    ),
]
MinProbability = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help='Least probability; below it "no digit found".', show_default="the model's own"
    ),
]
Label = Annotated[int | None, typer.Option(help="Only images of this class.")]
Predicted = Annotated[int | None, typer.Option(help="Only images predicted as this class.")]


def models(
    *,
    mine: options.Mine = False,
    submitted_by: options.SubmittedBy = None,
    limit: options.Limit = 20,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """List trained models, newest first."""
    by = options.whose(submitted_by, mine=mine)
    newest = list(islice(server.models(page_size=min(limit, _MAX_PAGE_SIZE), submitted_by=by), limit))
    none = "No models match." if by else "No models yet: `trainshed train` trains a model."
    write_result(newest, model_table, as_json=as_json, if_empty=none)


def model(
    *,
    model: options.ModelReference,
    alias: Alias = None,
    description: Description = None,
    download: Download = None,
    output: Output = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Show a trained model's layers; set its alias or description; download it."""
    _check_output(output, download, as_json=as_json)
    changes: ModelChanges = {}
    if alias is not None:
        changes["alias"] = alias or None
    if description is not None:
        changes["description"] = description or None
    valid(ModelPatch, changes)  # before an invalid alias is looked up
    detail = server.model(find_model(server, model))
    if changes:
        detail, moves = _change(server, detail, changes)
        if moves and not as_json:
            say("\n".join(moves))
    if as_json:
        write_json(detail)
    elif not download:
        show(model_details(detail))
    if download:
        path = output or Path(download if "." in download else f"model-{detail.id}.{download}")
        _download(server, detail.id, download, path)
        if path != _STDOUT:
            say(f"Wrote {path}.")


def predict(
    *,
    file: ImageFile,
    model: PredictingModel = None,
    threshold: MinProbability = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Predict the digit in an image file."""
    try:
        image = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    reference = find_model(server, model) if model else _newest(server)
    predictions = server.predict(image, reference, threshold=threshold)
    names = () if as_json else _class_names(server, reference)
    write_result(predictions, partial(prediction, class_names=names), as_json=as_json)


def _class_names(server: Client, reference: ModelReference) -> Sequence[str]:
    """Return the names of a model's classes; none if the server no longer has its dataset."""
    dataset = server.model(reference).dataset
    return next((each.class_names for each in server.datasets() if each.name == dataset), ())


def compare(jobs: options.JobReferences, server: options.Server, as_json: options.Json = False) -> None:
    """Compare two to ten jobs side by side: their differing parameters, metrics and evaluations."""
    ids = dict.fromkeys(find_job(server, job) for job in jobs)
    if len(ids) < 2:
        raise UsageError("compare at least two different jobs: `trainshed compare JOB JOB`")
    comparison = server.compare(*ids)
    write_result(comparison, comparison_table, as_json=as_json)


def misclassified(
    *,
    job: options.JobReference,
    label: Label = None,
    predicted: Predicted = None,
    limit: options.Limit = 20,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """List the test images that a job's evaluation misclassified; --json includes the images."""
    images = server.misclassified(find_job(server, job), label=label, predicted=predicted)
    first = list(islice(images, limit))
    write_result(first, misclassified_table, as_json=as_json, if_empty="No misclassified images match.")


def _check_output(output: Path | None, download: str | None, *, as_json: bool) -> None:
    if download is not None and Path(download).name != download:
        raise UsageError(f"--download {download}: not the name of a file, such as model.onnx")
    if output and not download:
        raise UsageError("--output needs --download: keras, onnx, tfjs, or the name of a file")
    if output == _STDOUT and as_json:
        raise UsageError("both --json and --output - write to stdout: give one of them")
    if output == _STDOUT and download == _TFJS:
        raise UsageError("a model for TensorFlow.js is a folder, which cannot be written to stdout")


def _change(server: Client, model: ModelDetail, changes: ModelChanges) -> tuple[ModelDetail, Sequence[str]]:
    """Change a model; return it, and a line for each alias that has moved."""
    alias = changes.get("alias", model.alias)
    holder = if_exists(lambda: server.model(alias)) if alias else None
    changed = server.change_model(model.id, **changes)
    lines = []
    if alias and (holder is None or holder.id != model.id):
        lines.append(f"{alias}: {_named(holder)} -> {_named(changed)}")
    if model.alias and model.alias != alias:
        lines.append(f"{model.alias}: {_named(model)} -> none")
    return changed, lines


def _named(model: ModelSummary | None) -> str:
    return f"{short_id(model.id)} (accuracy {decimal(model.accuracy)})" if model else "none"


def _newest(server: Client) -> ModelReference:
    for model in islice(server.models(), _MAX_PAGE_SIZE):
        if model.kind is not None:
            return model.id
    raise UsageError("there is no model yet that can predict: train one with `trainshed train`")


def _download(server: Client, model_id: UUID, file: str, path: Path) -> None:
    try:
        if file != _TFJS:
            content = server.download(model_id, name=file if "." in file else f"model.{file}")
            if path == _STDOUT:
                sys.stdout.buffer.write(content)
            else:
                path.write_bytes(content)
            return
        path.mkdir(exist_ok=True)
        for name, content in server.tfjs_files(model_id).items():
            (path / name).write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
