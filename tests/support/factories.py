"""Factories: valid values with defaults, which are stored nowhere; a test overrides what matters to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from uuid_utils.compat import uuid7

from shared.db.clock import database_now
from shared.db.tables import Worker
from shared.formats.classification import Classified, classification
from shared.formats.epochs import EpochMetrics
from shared.formats.predictions import PredictedImages
from shared.formats.results import KERAS_FILE, MODEL, ONNX_FILE, NewArtifact, NewResult, Produced
from shared.formats.weights import parameter_count, to_bytes
from shared.lifecycle import JobKind, Phase
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    EvaluateSpec,
    Evaluation,
    LayerSummary,
    LogLevel,
    ModelKind,
    TrainJobCreate,
    TrainSpec,
)
from shared.settings import Settings
from shared.store.job_logs import Line
from shared.store.progress import Milestone, Progress
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


def make_evaluation(
    *,
    wrong: Mapping[int, tuple[int, int]] | None = None,
    threshold: float | None = None,
    dataset: str | None = "mnist",
    **values: float,
) -> NewResult:
    """An evaluation of 50 images, by default 5 of each class: all are correct but one 9, predicted as a 4.

    Args:
        wrong: for an image its class, and the one that it is predicted to be, with the probability 0.6; by
            default image 7.
        values: further values, or others in place of those that were counted.
    """
    labels = [number % 10 for number in range(50)]
    labels[7], labels[9] = 9, 7
    for index, (label, _) in (wrong or {}).items():
        labels[index] = label
    mistakes = {7: (9, 4)} if wrong is None else wrong
    images = make_predictions(labels, {index: (predicted, 0.6) for index, (_, predicted) in mistakes.items()})
    result = classification(
        images.probabilities,
        images.labels,
        names=NAMES,
        threshold=threshold,
        dataset=dataset,
        values={"loss": 0.2},
    )
    return replace(result, values={**result.values, **values})


def make_regression(**overrides: Any) -> NewResult:
    """Results without classes: two named values."""
    return NewResult(**{"values": {"mae": 1.5, "r2": -0.25}, "dataset": "houses", "size": 40, **overrides})


def as_shown(result: NewResult, **overrides: Any) -> Evaluation:
    """Results as the API shows them."""
    body = None if result.body is None else PredictedImages.from_bytes(result.body, result.size or 0)
    details = Classified(body, result.threshold).details(misclassified=True) if body else {}
    values: dict[str, Any] = {
        "type": result.type,
        "values": dict(result.values),
        "size": result.size,
        "threshold": result.threshold,
        "loss": result.values.get("loss"),
        "accuracy": result.accuracy,
        "rejected": sum(each.rejected for each in result.per_class),
        "has_predictions": body is not None,
        "per_class": result.per_class,
        **details,
    }
    return Evaluation(**{**values, **overrides})


@dataclass
class NewModel:
    """A trained model that is not stored yet; its files have placeholder contents.

    Attributes:
        id: that of the job as whose model it is stored, from then on.
        spec: of its training; None: as the job was submitted.
    """

    id: UUID = field(default_factory=uuid7)
    spec: TrainSpec | None = None
    kind: ModelKind | None = ModelKind.CNN
    layers: tuple[LayerSummary, ...] = (
        LayerSummary(name="flatten", type="Flatten", output_shape=(784,), parameters=0, trainable=True),
        LayerSummary(name="dense", type="Dense", output_shape=(10,), parameters=7_850, trainable=True),
    )
    weights_sha256: str | None = sha256(b"weights").hexdigest()
    files: Mapping[str, bytes] = field(
        default_factory=lambda: {KERAS_FILE: b"a .keras file", ONNX_FILE: b"an ONNX file"}
    )
    evaluation: NewResult = field(default_factory=make_evaluation)

    @property
    def produced(self) -> Produced:
        """What the job has produced that trained it."""
        return Produced(
            artifacts=tuple(NewArtifact(name, content, MODEL) for name, content in self.files.items()),
            result=replace(self.evaluation, dataset=self.spec.dataset) if self.spec else self.evaluation,
            kind=self.spec.model if self.spec and self.kind else self.kind,
            layers=self.layers,
            weights_sha256=self.weights_sha256,
        )


make_model = NewModel


def make_progress(
    *reached: Phase | EpochMetrics,
    state: bytes = b"the state after it",
    keep_weights: bool = False,
    dataset_sha256: str | None = None,
    running: EpochMetrics | None = None,
) -> Progress:
    """Progress that is not stored yet, made at this moment."""
    milestones = (
        Milestone(each, weights=make_epoch_weights(each.epoch))
        if keep_weights and isinstance(each, EpochMetrics)
        else Milestone(each)
        for each in reached
    )
    return Progress(tuple(milestones), state, dataset_sha256, running)


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
