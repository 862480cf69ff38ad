"""The forms that cross a border: what clients send, what the API answers, what an attempt produces.

Requests refuse unknown fields, so that a misspelt one is an error and not a default.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from shared.lifecycle import AttemptOutcome, EventType, JobState, Phase

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


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


# of requests in which what is left out stays as it is, whatever the field's default in Python
_CHANGES = ConfigDict(json_schema_extra=_without_defaults)


class Response(BaseModel):
    """Base of everything that the API answers."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


def _not_like_a_number(value: Any) -> Any:
    # pydantic would take `true` for 1 and "5" for 5, which are no numbers in JSON; 5.0 is 5 there too
    if isinstance(value, bool | str):
        raise ValueError("Input should be a valid number")
    return value


A_NUMBER = BeforeValidator(_not_like_a_number)

Seed = Annotated[
    int, Field(ge=0, le=2**31 - 1, description="Decides every random choice of the job."), A_NUMBER
]
Threshold = Annotated[
    float,
    Field(ge=0, le=1, description='Predictions with a lower probability count as "no digit found".'),
]
_Size = Annotated[int, Field(ge=1), A_NUMBER]


class TrainRequest(Request):
    """What a client says of a training job. An empty one is the codelab's job."""

    dataset: str = Field(default="mnist", min_length=1, max_length=64)
    model: ModelKind = ModelKind.CNN
    train_size: _Size | None = Field(
        default=None, description="Training images; None: the dataset's default."
    )
    validation_size: _Size | None = Field(default=None, description="Images measured after each epoch.")
    evaluation_size: _Size | None = Field(default=None, description="Images of the evaluation at the end.")
    epochs: Annotated[int, Field(ge=1, le=1_000), A_NUMBER] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536), A_NUMBER] = 512
    learning_rate: Annotated[float, Field(gt=0, le=10), A_NUMBER] = 0.001
    optimizer: Optimizer = Optimizer.ADAM
    seed: Seed | None = None
    threshold: Annotated[Threshold, A_NUMBER] | None = None


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


_ALIAS = r"^[a-z][a-z0-9_-]{0,63}$"


def _model_reference(value: Any) -> UUID | str:
    if isinstance(value, UUID):
        return value
    text = str(value)
    with suppress(ValueError):
        return UUID(text)
    if not re.fullmatch(_ALIAS, text):
        raise ValueError("must be a model's id, or its alias such as `champion`")
    return text


def _alias(value: str) -> str:
    if isinstance(_model_reference(value), UUID):
        raise ValueError("must not look like an id")
    return value


ModelReference = Annotated[
    UUID | Annotated[str, Field(pattern=_ALIAS)],
    BeforeValidator(_model_reference),
    Field(description="A model's id, or its alias."),
]
Alias = Annotated[str, Field(pattern=_ALIAS), AfterValidator(_alias)]


class EvaluateRequest(Request):
    """What a client says of an evaluation job. What is left out is as the model was trained."""

    model_id: ModelReference
    evaluation_size: _Size | None = None
    seed: Seed | None = None
    threshold: Annotated[Threshold, A_NUMBER] | None = None


class EvaluateSpec(EvaluateRequest):
    """An evaluation job in full: an alias has become the id of the model that had it."""

    model_id: UUID
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
    max_attempts: Annotated[int, Field(ge=1, le=10), A_NUMBER] = Field(
        default=3, description="Failed attempts after which the job fails."
    )
    max_runtime_s: Annotated[float, Field(gt=0, le=7 * 86_400), A_NUMBER] | None = Field(
        default=None, description="Seconds that one attempt may run."
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
    alias: str | None = None
    description: str | None = None


class ModelEvaluation(Response):
    """One measurement of a model, by the job that made it."""

    job_id: UUID
    dataset: str
    size: int
    threshold: float | None
    loss: float
    accuracy: float


class ModelDetail(ModelSummary):
    """A trained model with what it was trained with, and every evaluation of it, oldest first."""

    spec: TrainSpec
    evaluations: tuple[ModelEvaluation, ...]


class ModelPage(Response):
    """A page of models, newest first."""

    data: tuple[ModelSummary, ...]
    next_cursor: str | None
    has_more: bool


class ModelPatch(Request):
    """What people may change of a model. What is left out stays; null takes it away."""

    model_config = _CHANGES

    alias: Alias | None = Field(
        default=None, description="A name that one model has at a time: it is taken from the one that has it."
    )
    description: str | None = Field(default=None, max_length=2_000, pattern=r"^[^\x00]*$")


class LastMetrics(Response):
    """The newest epoch's numbers."""

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


class Progress(Response):
    """How far a job has come. Epochs count those that are recorded.

    Attributes:
        eta_s: seconds that the epochs to come will take at the pace of the last five; None unless it
            runs and has recorded one.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    percent: float
    eta_s: float | None = None


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
    sweep_id: UUID | None = None
    retry_of: UUID | None
    error: JobError | None
    cancel_requested_at: datetime | None
    scheduled_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None = Field(
        default=None, description="From the first attempt's start to the job's end."
    )


class WaitingFor(StrEnum):
    """Why a queued job is not run: the first of these that is so."""

    PAUSED = "paused"  # its queue is paused
    NO_WORKER_ONLINE = "no_worker_online"  # that serves its queue and takes jobs
    SCHEDULED = "scheduled"  # it is not to be started before `scheduled_at`, as after a failed attempt
    ALL_BUSY = "all_busy"  # every worker of its queue has its slots full


class JobDetail(Job):
    """A job with its attempts.

    Attributes:
        queue_position: 1 for the job that its queue gives next; None unless it is queued.
        waiting_for: None where it is about to run, or not queued.
    """

    attempts: tuple[Attempt, ...]
    queue_position: int | None = None
    waiting_for: WaitingFor | None = None


class JobEvent(Response):
    """A dated fact about a job.

    Attributes:
        seq: 1, 2, 3, ... for each job: the job's `version` that it made.
        at: by the database's clock.
        attempt: during which it happened; 0 before the first.
        data: what it tells beyond its type, such as `phase`, or the `epochs` that were recorded.
    """

    job_id: UUID
    seq: int
    at: datetime
    type: EventType
    attempt: int
    data: dict[str, Any]


class EventPage(Response):
    """A job's next events, in order."""

    data: tuple[JobEvent, ...]
    has_more: bool


class StreamEnd(Response):
    """Why a job's stream has ended: the state that it is in for good; None if it was deleted."""

    state: JobState | None


class JobPage(Response):
    """A page of jobs, newest first."""

    data: tuple[Job, ...]
    next_cursor: str | None
    has_more: bool


class Resolution(StrEnum):
    """What a curve's x counts."""

    EPOCH = "epoch"
    STEP = "step"


class MetricName(StrEnum):
    """What a curve shows. The last two are measured once an epoch."""

    LOSS = "loss"
    ACCURACY = "accuracy"
    VAL_LOSS = "val_loss"
    VAL_ACCURACY = "val_accuracy"


class Series(Response):
    """One curve.

    Attributes:
        name: `loss`, `accuracy`, `val_loss` or `val_accuracy`.
        resolution: what x counts.
        x: 0-based epochs, or 0-based steps over all epochs.
        y: the values.
        total_points: that there are; with more than were asked for, each point here stands for several.
        downsampled: whether it is so: then x and y are the last of the points that each stands for.
        min: the least of them; only where it is so.
        max: the greatest of them; likewise.
    """

    name: str
    resolution: Literal["epoch", "step"]
    x: tuple[int, ...]
    y: tuple[float, ...]
    total_points: int = 0
    downsampled: bool = False
    min: tuple[float, ...] | None = None
    max: tuple[float, ...] | None = None


class Metrics(Response):
    """A job's curves so far."""

    series: tuple[Series, ...]


class JobMetrics(Metrics):
    """The curves of one of several jobs."""

    job_id: UUID


class ManyMetrics(Response):
    """Several jobs' curves, in the order in which they were asked for."""

    data: tuple[JobMetrics, ...]


class JobEvaluation(Evaluation):
    """A job's evaluation, with what it measured."""

    job_id: UUID
    model_id: UUID
    dataset: str


class AlignedSeries(Response):
    """One curve of several jobs over the same epochs.

    Attributes:
        name: as in `Series`.
        x: 0-based epochs, as many as the longest of the jobs has.
        y: a list a job, in the jobs' order; null where the job has no such epoch.
    """

    name: str
    x: tuple[int, ...]
    y: tuple[tuple[float | None, ...], ...]


class Comparison(Response):
    """Some jobs side by side; every list has an entry a job, in the order in which they were asked for.

    Attributes:
        jobs: as they are now.
        differing: the fields of their specifications that are not the same in all; null where a job's kind
            has no such field.
        series: curves of the training jobs among them; an evaluation job's are empty.
        evaluations: null where there is none; without the misclassified images.
    """

    jobs: tuple[Job, ...]
    differing: dict[str, tuple[Any, ...]]
    series: tuple[AlignedSeries, ...]
    evaluations: tuple[JobEvaluation | None, ...]


class MisclassifiedImage(Misclassified):
    """One test image that the model got wrong, to be looked at.

    Attributes:
        image: `data:image/png;base64,...`, 28x28, grey.
    """

    image: str


class MisclassifiedPage(Response):
    """A page of an evaluation's misclassified images, by their index."""

    data: tuple[MisclassifiedImage, ...]
    next_cursor: int | None
    has_more: bool


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


class LogLevel(StrEnum):
    """How important a line of a log is, least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class JobLogLine(Response):
    """One line of a job's log.

    Attributes:
        cursor: names the line; `after` it come the later ones.
        attempt: which attempt logged it.
        at: when, by the worker's clock.
        fields: what the message is about.
    """

    cursor: str
    attempt: int
    at: datetime
    level: LogLevel
    message: str
    fields: dict[str, Any]


class JobLogPage(Response):
    """Some lines of a job's log, oldest first.

    Attributes:
        next_cursor: where the next page begins; also after the last line, since more may come.
    """

    data: tuple[JobLogLine, ...]
    next_cursor: str
    has_more: bool


class Scope(StrEnum):
    """What the holder of an API key may do; each includes the ones before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def includes(self, needed: "Scope") -> bool:
        """Whether what `needed` allows is allowed."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


class ApiKeyCreate(Request):
    """A request for an API key."""

    name: str = Field(
        min_length=1, max_length=200, pattern=_PRINTABLE, description="Who or what it is given to."
    )
    scope: Scope = Scope.READ
    expires_in_s: Annotated[float, Field(ge=1, le=10 * 365 * 86_400), A_NUMBER] | None = Field(
        default=None, description="Seconds for which it holds; None: for ever."
    )


class ApiKey(Response):
    """An API key, without its secret."""

    id: UUID
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class CreatedApiKey(ApiKey):
    """An API key that was just made.

    Attributes:
        key: what its holder sends as `Authorization: Bearer`; it is shown here and never again.
    """

    key: str = Field(repr=False)


class ApiKeyList(Response):
    """The API keys, newest first; those that were revoked or have expired too."""

    data: tuple[ApiKey, ...]


class Me(Response):
    """Who the API takes the client for.

    Attributes:
        key_id: None where no key is needed, or the key is one of the setting `API_KEYS`.
    """

    key_id: UUID | None
    name: str
    scope: Scope
    expires_at: datetime | None


class Worker(Response):
    """A worker, as it last described itself.

    Attributes:
        slots: jobs that it can run at once.
        busy_slots: jobs that it runs.
        jobs: which.
        state: `online`, `draining` (takes no more jobs), `stopped`, or `lost` (not heard of for too long).
        heartbeat_age_s: seconds since it was last heard of, by the database's clock.
    """

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    devices: tuple[str, ...]
    slots: int
    versions: dict[str, str]
    state: Literal["online", "draining", "stopped", "lost"]
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_s: float
    busy_slots: int = 0
    jobs: tuple[UUID, ...] = ()


class WorkerList(Response):
    """The workers, last heard of first."""

    data: tuple[Worker, ...]


QUEUE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"


class JobOrder(StrEnum):
    """How a list of jobs is sorted: `-` for descending. Jobs without such a value come last, newest first."""

    NEWEST = "-created_at"
    OLDEST = "created_at"
    LONGEST = "-duration"
    SHORTEST = "duration"
    BEST_VAL_ACCURACY = "-val_accuracy"
    WORST_VAL_ACCURACY = "val_accuracy"
    BEST_EVALUATION = "-evaluation_accuracy"
    WORST_EVALUATION = "evaluation_accuracy"


def _written(value: Any) -> Any:
    # pydantic would take a number for seconds since 1970
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        raise ValueError("must be a moment as in RFC 3339, such as 2026-01-02T03:04:05Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a moment of the years 1 to 9999 in UTC") from None


_Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]


class JobListQuery(Request):
    """Which jobs are listed, in which order, and how many at once. A job must fit every filter."""

    state: tuple[JobState, ...] = Field(
        default=(), max_length=len(JobState), description="Any of these; may be given more than once."
    )
    kind: Literal["train", "evaluate"] | None = None
    tag: Tag | None = None
    queue: str | None = Field(default=None, pattern=QUEUE_PATTERN)
    worker: str | None = Field(
        default=None,
        max_length=200,
        pattern=_PRINTABLE,
        description="The id of a worker that ran it, or runs it.",
    )
    q: str | None = Field(
        default=None, max_length=200, pattern=_PRINTABLE, description="A part of its name, in whatever case."
    )
    created_after: _Moment | None = Field(default=None, description="Then or later.")
    created_before: _Moment | None = Field(default=None, description="Earlier than then.")
    sort: JobOrder = JobOrder.NEWEST
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(
        default=None, max_length=1_000, description="`next_cursor` of the page before, with the same `sort`."
    )


class JobCounts(Response):
    """How many jobs there are, in each state, and in each state of each queue."""

    total: int
    states: dict[JobState, int]
    queues: dict[str, dict[JobState, int]]


class JobPatch(Request):
    """What may change of a job at any time. What is left out stays; a name of null takes it away."""

    model_config = _CHANGES

    name: str | None = Field(default=None, min_length=1, max_length=200, pattern=_PRINTABLE)
    tags: Tags = ()


class SpecChanges(TrainRequest):
    """Fields of a specification of either kind; null for what is to be drawn or taken from its dataset."""

    model_config = _CHANGES

    model_id: ModelReference | None = None


class JobClone(_JobOptions):
    """How a new job differs from the one that it is made after. What is left out is as there."""

    model_config = _CHANGES

    spec: SpecChanges = SpecChanges()


class BatchAction(StrEnum):
    """What is done to each job of a batch."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


def _distinct(ids: tuple[UUID, ...]) -> tuple[UUID, ...]:
    return tuple(dict.fromkeys(ids))


class JobBatch(Request):
    """One action for many jobs, each on its own: what fails for one is done for the others."""

    action: BatchAction
    ids: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=200), AfterValidator(_distinct)]


class BatchResult(Response):
    """What became of one job of a batch.

    Attributes:
        status: as the same request for this job alone is answered.
        new_id: of the job that a retry made.
        problem: why it was not done.
    """

    id: UUID
    status: int
    new_id: UUID | None = None
    problem: Problem | None = None


class BatchResults(Response):
    """What became of each job, in the order in which they were named."""

    data: tuple[BatchResult, ...]


class Queue(Response):
    """A queue that has jobs or workers, is paused, or is named in the API's settings.

    Attributes:
        queued: jobs that wait, by priority.
        oldest_waiting_s: for how long the oldest of them has waited.
        workers: that serve it and take jobs now.
        slots: that these have.
    """

    name: str
    paused: bool
    queued: dict[Priority, int]
    oldest_waiting_s: float | None
    running: int
    workers: int
    slots: int


class QueueList(Response):
    """The queues by name."""

    data: tuple[Queue, ...]


class QueueLoad(Response):
    """What an autoscaler needs to know of a queue.

    Attributes:
        queued: jobs that wait and may be started; of a paused queue, none may.
        workers: that take jobs now.
        desired: workers that could run them all at once, with as many slots each as those have.
    """

    queued: int
    running: int
    workers: int
    desired: int


class Autoscaling(Response):
    """The load of each queue."""

    queues: dict[str, QueueLoad]
