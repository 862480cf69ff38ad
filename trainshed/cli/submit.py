"""The commands that submit a job."""

from typing import Any

import typer

from shared.schemas import EvaluateJobCreate, EvaluateRequest, Priority, TrainJobCreate, TrainRequest
from trainshed.cli import options
from trainshed.cli.follow import take
from trainshed.cli.references import find_model


def train(
    ctx: typer.Context,
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
    name: options.Name = None,
    tag: options.Tag = None,
    queue: options.Queue = None,
    priority: options.PriorityName = None,
    max_attempts: options.MaxAttempts = None,
    max_runtime: options.MaxRuntime = None,
    detach: options.Detach = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Submit a training job and follow it. Without options it is the codelab's job."""
    spec = options.given(
        dataset=dataset,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimizer=optimizer,
        train_size=train_size,
        validation_size=validation_size,
        evaluation_size=evaluation_size,
        seed=seed,
        threshold=threshold,
    )
    job = _of_job(name, tag, queue, priority, max_attempts, max_runtime)
    request = TrainJobCreate(spec=TrainRequest(**spec), **job)
    with options.server(ctx, url) as server:
        take(server, server.submit(request), detach=detach, as_json=as_json)


def evaluate(
    ctx: typer.Context,
    model: options.ModelReference,
    evaluation_size: options.EvaluationSize = None,
    seed: options.Seed = None,
    threshold: options.Threshold = None,
    name: options.Name = None,
    tag: options.Tag = None,
    queue: options.Queue = None,
    priority: options.PriorityName = None,
    max_attempts: options.MaxAttempts = None,
    max_runtime: options.MaxRuntime = None,
    detach: options.Detach = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Submit an evaluation of a trained model and follow it."""
    spec = options.given(evaluation_size=evaluation_size, seed=seed, threshold=threshold)
    job = _of_job(name, tag, queue, priority, max_attempts, max_runtime)
    with options.server(ctx, url) as server:
        measured = EvaluateRequest(model_id=find_model(server, model), **spec)
        request = EvaluateJobCreate(kind="evaluate", spec=measured, **job)
        take(server, server.submit(request), detach=detach, as_json=as_json)


def _of_job(
    name: str | None,
    tags: list[str] | None,
    queue: str | None,
    priority: Priority | None,
    max_attempts: int | None,
    max_runtime_s: float | None,
) -> dict[str, Any]:
    """Of the options that jobs of every kind have, those that were given."""
    return options.given(
        name=name,
        tags=tags,
        queue=queue,
        priority=priority,
        max_attempts=max_attempts,
        max_runtime_s=max_runtime_s,
    )
