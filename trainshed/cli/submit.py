"""The commands that submit a job: `trainshed train`, `trainshed evaluate`."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from shared.lifecycle import JobKind
from shared.schemas import EvaluateJobCreate, EvaluateRequest, TrainJobCreate, TrainRequest
from trainshed.cli import options
from trainshed.cli.follow import follow_submitted
from trainshed.cli.references import find_job, find_model
from trainshed.cli.request_file import read_train_request
from trainshed.client import Client
from trainshed.errors import TrainshedApiError, UsageError

RequestFile = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="Read the request from this file, `.json` or `.toml`."),
]


def train(
    *,
    file: RequestFile = None,
    dataset: options.Dataset = None,
    model: options.Model = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    optimizer: options.OptimizerName = None,
    train_size: options.TrainSize = None,
    validation_size: options.ValidationSize = None,
    evaluation_size: options.EvaluationSize = None,
    seed: options.Seed = None,
    threshold: options.Threshold = None,
    keep_weights: options.KeepWeights = None,
    name: options.Name = None,
    tags: options.Tags = None,
    queue: options.Queue = None,
    priority: options.PriorityName = None,
    max_attempts: options.MaxAttempts = None,
    max_runtime_s: options.MaxRuntime = None,
    scheduled_at: options.At = None,
    after: options.After = None,
    detach: options.Detach = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Submit a training job and follow it. The defaults are those of the TensorFlow.js codelab.

    The file of --file has the fields of `POST /v1/jobs`; options replace the file's values.
    """
    after = _ids(server, after)
    options.note_past(scheduled_at)
    spec, job = options.given(TrainRequest, locals()), options.given(TrainJobCreate, locals())
    if file:
        request = read_train_request(file, spec, job)
    else:
        request = TrainJobCreate(spec=TrainRequest(**spec), **job)
    follow_submitted(server, server.submit(request), detach=detach, as_json=as_json)


def evaluate(
    *,
    model: options.ModelReference,
    evaluation_size: options.EvaluationSize = None,
    seed: options.Seed = None,
    threshold: options.Threshold = None,
    name: options.Name = None,
    tags: options.Tags = None,
    queue: options.Queue = None,
    priority: options.PriorityName = None,
    max_attempts: options.MaxAttempts = None,
    max_runtime_s: options.MaxRuntime = None,
    scheduled_at: options.At = None,
    after: options.After = None,
    detach: options.Detach = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Submit an evaluation of a trained model and follow it.

    The model may also be that of a job which has not ended yet, and which --after names.
    """
    after = _ids(server, after)
    options.note_past(scheduled_at)
    spec, job = options.given(EvaluateRequest, locals()), options.given(EvaluateJobCreate, locals())
    evaluation = EvaluateRequest(model_id=_model_id(server, model, after or ()), **spec)
    request = EvaluateJobCreate(kind=JobKind.EVALUATE, spec=evaluation, **job)
    follow_submitted(server, server.submit(request), detach=detach, as_json=as_json)


def _ids(server: Client, jobs: Sequence[str] | None) -> list[str] | None:
    return [str(find_job(server, job)) for job in jobs] if jobs else None


def _model_id(server: Client, model: str, after: Sequence[str]) -> UUID:
    """Return the id of a model, or of the job among those of --after that is to train it."""
    if after:
        with suppress(UsageError, TrainshedApiError):  # the reference is not a job
            job_id = find_job(server, model)
            if str(job_id) in after:
                return job_id
    return find_model(server, model)
