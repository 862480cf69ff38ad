"""The forms that cross a border: what clients send, what the API answers, what an attempt produces.

Requests refuse unknown fields, so that a misspelt one is an error and not a default.
"""

from datetime import datetime
from enum import StrEnum
from math import ceil
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.lifecycle import AttemptOutcome, JobState, Phase

DEFAULT_QUEUE = "default"


class Priority(StrEnum):
    """Which jobs of a queue go first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class ModelKind(StrEnum):
    """The codelab's two architectures."""

    CNN = "cnn"
    DENSE = "dense"


class Optimizer(StrEnum):
    """How weights follow their gradients; each with Keras's defaults but for the learning rate."""

    ADAM = "adam"
    SGD = "sgd"
    RMSPROP = "rmsprop"


class Request(BaseModel):
    """Base of everything that a client sends."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Response(BaseModel):
    """Base of everything that the API answers."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


Seed = Annotated[int, Field(ge=0, le=2**31 - 1, description="Decides every random choice of the job.")]
Threshold = Annotated[
    float,
    Field(ge=0, le=1, description='Predictions with a lower probability count as "no digit found".'),
]


class TrainRequest(Request):
    """What a client says of a training job. An empty one is the codelab's job."""

    dataset: str = Field(default="mnist", min_length=1, max_length=64)
    model: ModelKind = ModelKind.CNN
    train_size: int | None = Field(
        default=None, ge=1, description="Training images; None: the dataset's default."
    )
    validation_size: int | None = Field(default=None, ge=1, description="Images measured after each epoch.")
    evaluation_size: int | None = Field(
        default=None, ge=1, description="Images of the evaluation at the end."
    )
    epochs: int = Field(default=10, ge=1, le=1_000)
    batch_size: int = Field(default=512, ge=1, le=65_536)
    learning_rate: float = Field(default=0.001, gt=0, le=10)
    optimizer: Optimizer = Optimizer.ADAM
    seed: Seed | None = None
    threshold: Threshold | None = None


class TrainSpec(TrainRequest):
    """A training job in full: nothing is left to a default, so that it can be run again exactly."""

    train_size: int
    validation_size: int
    evaluation_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer updates in one epoch, the last partial batch's among them."""
        return ceil(self.train_size / self.batch_size)


class EvaluateRequest(Request):
    """What a client says of an evaluation job. What is left out is as the model was trained."""

    model_id: UUID
    evaluation_size: int | None = Field(default=None, ge=1)
    seed: Seed | None = None
    threshold: Threshold | None = None


class EvaluateSpec(EvaluateRequest):
    """An evaluation job in full."""

    evaluation_size: int
    seed: int


def _unique(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))


_PRINTABLE = (
    r"^[^\x00-\x1f\x7f]*$"  # PostgreSQL's texts cannot hold a NUL, nor do people's lists want a newline
)

Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=_PRINTABLE)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=16), AfterValidator(_unique)]


class _JobOptions(Request):
    name: str | None = Field(default=None, min_length=1, max_length=200, pattern=_PRINTABLE)
    tags: Tags = ()
    queue: str = Field(default=DEFAULT_QUEUE, pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    priority: Priority = Priority.NORMAL
    max_attempts: int = Field(
        default=3, ge=1, le=10, description="Failed attempts after which the job fails."
    )
    max_runtime_s: float | None = Field(
        default=None, gt=0, le=7 * 86_400, description="Seconds that one attempt may run."
    )


class TrainJobCreate(_JobOptions):
    """A request to train a model and evaluate it."""

    # the default is for callers in Python: over HTTP it tells which of the two forms a request has
    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})

    kind: Literal["train"] = "train"
    spec: TrainRequest = TrainRequest()


class EvaluateJobCreate(_JobOptions):
    """A request to evaluate a stored model."""

    kind: Literal["evaluate"]
    spec: EvaluateRequest


JobCreate = Annotated[TrainJobCreate | EvaluateJobCreate, Field(discriminator="kind")]


class EpochMetrics(Response):
    """What one epoch of training showed.

    Attributes:
        epoch: counted from 0.
        loss: mean categorical cross-entropy over the epoch's training images, as they were trained on.
        accuracy: share of them that were predicted right, 0 to 1.
        val_loss: the same over the validation images, after the epoch.
        val_accuracy: share of validation images predicted right.
        seconds: wall time.
        batch_loss: each batch's own loss, in order, as TensorFlow.js reports it (not a running mean).
        batch_accuracy: each batch's own accuracy.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    batch_loss: tuple[float, ...]
    batch_accuracy: tuple[float, ...]


class ClassResult(Response):
    """How one class was recognised.

    Attributes:
        label: the class, counted from 0.
        name: what people call it.
        count: images of this class.
        correct: of them, those predicted right with a probability of at least the threshold.
        rejected: of them, those whose best probability was below the threshold.
        accuracy: correct / count; None where count is 0 (for each ratio alike).
        precision: correct / images predicted to be of this class.
        recall: correct / count.
        f1: harmonic mean of precision and recall.
    """

    label: int
    name: str
    count: int
    correct: int
    rejected: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None


class Misclassified(Response):
    """One test image that the model got wrong.

    Attributes:
        index: its row among the dataset's test images, from 0.
        label: what it is.
        predicted: what the model said.
        probability: how sure the model was, 0 to 1.
    """

    index: int
    label: int
    predicted: int
    probability: float


class Evaluation(Response):
    """One measurement of a model: the per-class table and the confusion matrix describe the same test images.

    Attributes:
        size: images measured.
        threshold: predictions below it are rejected; None rejects none.
        loss: mean categorical cross-entropy.
        accuracy: share predicted right and not rejected.
        rejected: images whose best probability was below the threshold.
        per_class: one entry a class, in label order.
        confusion_matrix: rows are true classes, columns predicted ones; rejected images are in no cell, so a
            row sums to its class's count less its rejected.
        misclassified: every image that was predicted wrong and not rejected.
    """

    size: int
    threshold: float | None
    loss: float
    accuracy: float
    rejected: int
    per_class: tuple[ClassResult, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    misclassified: tuple[Misclassified, ...] = ()


class LayerSummary(Response):
    """One row of a model's summary, with tfjs-vis's four columns.

    Attributes:
        name: the layer's name.
        type: its class.
        output_shape: without the batch dimension.
        parameters: how many weights it has.
        trainable: whether training changes them.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: bool


class ModelFormat(StrEnum):
    """The forms in which a model can be downloaded."""

    KERAS = "keras"
    ONNX = "onnx"


class ModelSummary(Response):
    """A trained model."""

    id: UUID
    job_id: UUID
    dataset: str
    kind: ModelKind
    parameters: int
    layers: tuple[LayerSummary, ...]
    weights_sha256: str = Field(description="Of the weights' bytes in layer order: equal for equal models.")
    accuracy: float = Field(description="Of the evaluation at the end of its training.")
    created_at: datetime


class LastMetrics(Response):
    """The newest epoch's numbers."""

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


class Progress(Response):
    """How far a job has come. Epochs count those that are recorded."""

    epoch: int
    epochs: int
    step: int
    steps: int
    percent: float


class Attempt(Response):
    """One try to run a job."""

    number: int
    worker: str
    device: str
    versions: dict[str, str]
    started_at: datetime
    finished_at: datetime | None
    outcome: AttemptOutcome | None
    error_code: str | None
    error_message: str | None


class JobError(Response):
    """Why a job failed."""

    code: str
    message: str


class Job(Response):
    """A job, as the API shows it."""

    id: UUID
    kind: Literal["train", "evaluate"]
    state: JobState
    phase: Phase | None
    name: str | None
    tags: tuple[str, ...]
    queue: str
    priority: Priority
    spec: TrainSpec | EvaluateSpec
    attempt: int
    max_attempts: int
    crashes: int
    max_runtime_s: float | None
    version: int
    progress: Progress | None
    metrics: LastMetrics | None
    evaluation_accuracy: float | None
    model_id: UUID | None
    retry_of: UUID | None
    error: JobError | None
    cancel_requested_at: datetime | None
    scheduled_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobDetail(Job):
    """A job with its attempts."""

    attempts: tuple[Attempt, ...]


class JobPage(Response):
    """A page of jobs, newest first."""

    data: tuple[Job, ...]
    next_cursor: str | None
    has_more: bool


class Series(Response):
    """One curve.

    Attributes:
        name: `loss`, `accuracy`, `val_loss` or `val_accuracy`.
        resolution: what x counts.
        x: 0-based epochs, or 0-based steps over all epochs.
        y: the values.
    """

    name: str
    resolution: Literal["epoch", "step"]
    x: tuple[int, ...]
    y: tuple[float, ...]


class Metrics(Response):
    """A job's curves so far."""

    series: tuple[Series, ...]


class JobEvaluation(Evaluation):
    """A job's evaluation, with what it measured."""

    job_id: UUID
    model_id: UUID
    dataset: str


class Sample(Response):
    """One test image of a dataset.

    Attributes:
        index: its row among the test images.
        label: its class.
        name: what people call the class.
        image: `data:image/png;base64,...`, 28x28, grey.
    """

    index: int
    label: int
    name: str
    image: str


class DatasetSamples(Response):
    """Some test images of a dataset."""

    dataset: str
    data: tuple[Sample, ...]


class Problem(BaseModel):
    """An error, as RFC 9457 lays it out."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, Any]] | None = None


class Worker(Response):
    """A worker, as it last described itself.

    Attributes:
        slots: jobs that it runs at once.
        state: `online`, `draining` (takes no more jobs) or `stopped`.
        heartbeat_age_s: seconds since it was last heard of, by the database's clock.
    """

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    devices: tuple[str, ...]
    slots: int
    versions: dict[str, str]
    state: Literal["online", "draining", "stopped"]
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_s: float


class WorkerList(Response):
    """The workers, last heard of first."""

    data: tuple[Worker, ...]
