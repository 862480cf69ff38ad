"""Schemas of requests, responses and the results of attempts, for import from here."""

from shared.schemas.api_keys import ApiKey, ApiKeyCreate, ApiKeyUpdate, CreatedApiKey, Me, Scope
from shared.schemas.base import Page
from shared.schemas.datasets import Datasets, DatasetSamples, DatasetSummary, JobImages, Part, Sample, Split
from shared.schemas.evaluations import (
    ClassResult,
    Evaluation,
    EvaluationResult,
    ImagePrediction,
    JobEvaluation,
    Misclassified,
    MisclassifiedImage,
)
from shared.schemas.events import JobEvent, StreamEnd
from shared.schemas.health import Check, Dependency, Live, Readiness, Version
from shared.schemas.job_logs import JobLogLine, LogLevel
from shared.schemas.job_requests import (
    QUEUE_PATTERN,
    BatchAction,
    BatchResult,
    BatchResults,
    EvaluateJobCreate,
    JobBatch,
    JobClone,
    JobCreate,
    JobListQuery,
    JobOrder,
    JobPatch,
    Priority,
    Tag,
    Tags,
    TrainJobCreate,
    UtcTime,
)
from shared.schemas.jobs import (
    MAX_POSITION,
    Attempt,
    FinishedInMinute,
    Job,
    JobCounts,
    JobDetail,
    JobError,
    LastMetrics,
    Progress,
    Throughput,
    WaitingFor,
)
from shared.schemas.metrics import (
    AlignedSeries,
    Comparison,
    EpochMetrics,
    JobMetrics,
    ManyMetrics,
    MetricName,
    Metrics,
    Resolution,
    Series,
)
from shared.schemas.models import (
    LayerSummary,
    ModelDetail,
    ModelEvaluation,
    ModelFormat,
    ModelPatch,
    ModelSummary,
)
from shared.schemas.predictions import (
    EncodedImage,
    NoDigitReason,
    PixelRows,
    Prediction,
    Predictions,
    PredictRequest,
)
from shared.schemas.problems import Problem
from shared.schemas.specs import (
    Alias,
    EvaluateRequest,
    EvaluateSpec,
    ModelKind,
    ModelReference,
    Optimizer,
    Seed,
    Threshold,
    TrainRequest,
    TrainSpec,
)
from shared.schemas.sweeps import (
    MAX_SWEEP_JOBS,
    Choices,
    GridSweepCreate,
    Objective,
    RandomSweepCreate,
    Range,
    Sweep,
    SweepCreate,
    SweepDetail,
    SweepResult,
)
from shared.schemas.weights import KeptArray, KeptWeights
from shared.schemas.workers import (
    Autoscaling,
    Queue,
    QueueLoad,
    QueueShares,
    QueueUpdate,
    ShareLoad,
    Worker,
    WorkerAttempt,
)
