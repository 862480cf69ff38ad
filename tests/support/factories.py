"""Factories: valid values with defaults, which are stored nowhere; a test overrides what matters to it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from uuid_utils.compat import uuid7

from shared.db.clock import database_now
from shared.db.tables import Worker
from shared.formats.epochs import EpochMetrics
from shared.formats.weights import parameter_count, to_bytes
from shared.lifecycle import JobKind, Phase
from shared.schemas import (
    ClassResult,
    EvaluateJobCreate,
    EvaluateRequest,
    EvaluateSpec,
    EvaluationResult,
    LayerSummary,
    LogLevel,
    Misclassified,
    ModelFormat,
    ModelKind,
    TrainJobCreate,
    TrainSpec,
)
from shared.settings import Settings
from shared.store.job_logs import Line
from shared.store.progress import Milestone, Progress
from shared.store.results import NewModel as NewModel
from shared.store.submissions import NewJob
from shared.store.workers import WorkerInfo
from tests.support.predictions import make_predictions

NAMES = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def make_settings(folder: Path, **overrides: Any) -> Settings:
    """Return settings of a stack in a folder, where nothing runs; `mnist` cannot be downloaded."""
    missing = (folder / "missing").as_uri()
    values = {"mnist_images_url": missing, "mnist_labels_url": missing}
    values |= {"redis_url": f"unix://{folder / 'redis.sock'}"}
    return Settings(data_dir=folder, **{**values, **overrides})


def make_spec(**overrides: Any) -> TrainSpec:
    """A complete specification of a short training: 3 epochs of 2 steps."""
    values: dict[str, Any] = {
        "epochs": 3,
        "train_size": 100,
        "validation_size": 20,
        "evaluation_size": 50,
        "batch_size": 50,
        "seed": 1,
    }
    return TrainSpec(**{**values, **overrides})


def make_evaluate_spec(model_id: UUID, **overrides: Any) -> EvaluateSpec:
    values: dict[str, Any] = {"model_id": model_id, "evaluation_size": 50, "seed": 1}
    return EvaluateSpec(**{**values, **overrides})


def make_train_request() -> TrainJobCreate:
    """A request for a training job that sets every field to another value than its default."""
    spec = {
        "dataset": "digits",
        "model": "dense",
        "train_size": 100,
        "validation_size": 20,
        "evaluation_size": 50,
        "epochs": 3,
        "batch_size": 64,
        "learning_rate": 0.0003,
        "optimizer": "sgd",
        "seed": 7,
        "threshold": 0.5,
    }
    options = {"queue": "slow", "priority": "low", "max_attempts": 2, "max_runtime_s": 60.5}
    return TrainJobCreate.model_validate({"name": "mine", "tags": ["a", "b"], **options, "spec": spec})


def make_evaluate_request() -> EvaluateJobCreate:
    """A request to evaluate a model by its alias."""
    spec = EvaluateRequest(model_id="champion", threshold=0.0)
    return EvaluateJobCreate(kind=JobKind.EVALUATE, spec=spec, name="again")


def make_new_job(**overrides: Any) -> NewJob:
    """A training job that is not submitted yet."""
    return NewJob(**{"id": uuid7(), "kind": "train", "spec": make_spec(), **overrides})


def make_worker_info(**overrides: Any) -> WorkerInfo:
    values: dict[str, Any] = {"name": "worker-1", "device": "CPU", "versions": {"tensorflow": "2.20.0"}}
    return WorkerInfo(**{**values, **overrides})


def make_epoch(
    epoch: int = 0,
    *,
    seconds: float = 0.25,
    steps: Mapping[str, Sequence[float]] | None = None,
    **values: float,
) -> EpochMetrics:
    """Metrics of an epoch of 2 steps, each epoch a little better than the previous one; with other values."""
    later = epoch + 1
    own = {
        "loss": 1.0 / later,
        "accuracy": 1 - 0.5 / later,
        "val_loss": 1.1 / later,
        "val_accuracy": 1 - 0.6 / later,
    }
    of_steps = {"loss": (1.2 / later, 0.8 / later), "accuracy": (1 - 0.6 / later, 1 - 0.4 / later)}
    return EpochMetrics.of(epoch, seconds, {**own, **values}, of_steps if steps is None else steps)


def make_evaluation(**overrides: Any) -> EvaluationResult:
    """An evaluation of 50 images, 5 of each class: all are correct but one 9, predicted as a 4."""
    labels = [number % 10 for number in range(50)]
    labels[7], labels[9] = 9, 7
    matrix = [[5 if label == predicted else 0 for predicted in range(10)] for label in range(10)]
    matrix[9][9], matrix[9][4] = 4, 1
    values: dict[str, Any] = {
        "size": 50,
        "threshold": None,
        "loss": 0.2,
        "accuracy": 49 / 50,
        "rejected": 0,
        "per_class": tuple(_class_result(label, matrix) for label in range(10)),
        "confusion_matrix": tuple(map(tuple, matrix)),
        "misclassified": (Misclassified(index=7, label=9, predicted=4, probability=0.6),),
        "predictions": make_predictions(labels, {7: (4, 0.6)}).to_bytes(),
    }
    return EvaluationResult(**{**values, **overrides})


def _class_result(label: int, matrix: list[list[int]]) -> ClassResult:
    count, correct = sum(matrix[label]), matrix[label][label]
    precision, recall = correct / sum(row[label] for row in matrix), correct / count
    return ClassResult(
        label=label,
        name=NAMES[label],
        count=count,
        correct=correct,
        rejected=0,
        accuracy=recall,
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall),
    )


def make_model(**overrides: Any) -> NewModel:
    """A trained model that is not stored yet; its files have placeholder contents."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "spec": make_spec(),
        "layers": (
            LayerSummary(name="flatten", type="Flatten", output_shape=(784,), parameters=0, trainable=True),
            LayerSummary(name="dense", type="Dense", output_shape=(10,), parameters=7_850, trainable=True),
        ),
        "weights_sha256": sha256(b"weights").hexdigest(),
        "files": {ModelFormat.KERAS: b"a .keras file", ModelFormat.ONNX: b"an ONNX file"},
        "evaluation": make_evaluation(),
    }
    return NewModel(**{**values, **overrides})


def make_progress(
    *reached: Phase | EpochMetrics,
    state: bytes = b"the state after it",
    keep_weights: bool = False,
    dataset_sha256: str | None = None,
) -> Progress:
    """Progress that is not stored yet, made at this moment."""
    milestones = (
        Milestone(each, weights=make_epoch_weights(each.epoch))
        if keep_weights and isinstance(each, EpochMetrics)
        else Milestone(each)
        for each in reached
    )
    return Progress(tuple(milestones), state, dataset_sha256)


def make_line(number: int = 1, **overrides: Any) -> Line:
    """A line of an attempt's log."""
    values: dict[str, Any] = {
        "at": datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
        "level": LogLevel.INFO,
    }
    values |= {"message": f"line {number}", "fields": {"epoch": number}}
    return Line(number, **{**values, **overrides})


def make_epoch_weights(epoch: int) -> bytes:
    """The bytes of the weights of a `cnn` after an epoch: all of them equal."""
    return to_bytes(np.full(parameter_count(ModelKind.CNN), epoch + 0.5, np.float32))


def make_worker(**overrides: Any) -> Worker:
    """A worker that is not stored yet: online, with one slot, its heartbeat now."""
    values: dict[str, Any] = {
        "id": "worker-1",
        "host": "host",
        "pid": 1,
        "queues": ["default"],
        "devices": ["CPU"],
        "slots": 1,
        "versions": {"trainshed": "0.1.0"},
        "state": "online",
        "started_at": database_now(),
        "heartbeat_at": database_now(),
        "lost_after_s": 45.0,
    }
    return Worker(**{**values, **overrides})
