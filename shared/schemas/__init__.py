"""The forms that cross a border: what clients send, what the API answers, what an attempt produces.

Requests refuse unknown fields, so that a misspelt one is an error and not a default. All forms are imported
from here; each is defined in the module that is named for what it is about.
"""

from shared.schemas.api_keys import ApiKey, ApiKeyCreate, ApiKeyList, CreatedApiKey, Me, Scope
from shared.schemas.base import A_NUMBER, CHANGES, PRINTABLE, Request, Response
from shared.schemas.datasets import DatasetSamples, Sample
from shared.schemas.evaluations import (
    ClassResult,
    Evaluation,
    JobEvaluation,
    Misclassified,
    MisclassifiedImage,
    MisclassifiedPage,
)
from shared.schemas.events import EventPage, JobEvent, StreamEnd
from shared.schemas.job_logs import JobLogLine, JobLogPage, LogLevel
from shared.schemas.job_requests import (
    DEFAULT_QUEUE,
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
)
from shared.schemas.jobs import (
    Attempt,
    Job,
    JobCounts,
    JobDetail,
    JobError,
    JobPage,
    LastMetrics,
    Progress,
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
    ModelPage,
    ModelPatch,
    ModelSummary,
)
from shared.schemas.predictions import (
    MAX_IMAGES,
    EncodedPicture,
    Pixel,
    Prediction,
    Predictions,
    PredictRequest,
    Row,
    Rows,
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
    SpecChanges,
    Threshold,
    TrainRequest,
    TrainSpec,
)
from shared.schemas.sweeps import (
    LESS_IS_BETTER,
    MAX_SWEEP_JOBS,
    Choices,
    GridSweepCreate,
    Objective,
    RandomSweepCreate,
    Range,
    Sweep,
    SweepCreate,
    SweepDetail,
    SweepPage,
    SweepResult,
    Swept,
)
from shared.schemas.workers import Autoscaling, Queue, QueueList, QueueLoad, Worker, WorkerList
