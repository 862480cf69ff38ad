"""The Python client. (`trainshed.cli` is the command line, `trainshed.local` the stack of one machine.)"""

from shared.lifecycle import JobKind, JobState
from shared.schemas import (
    ApiKeyCreate,
    ApiKeyUpdate,
    EvaluateJobCreate,
    EvaluateRequest,
    GridSweepCreate,
    RandomSweepCreate,
    Range,
    Scope,
    TrainJobCreate,
    TrainRequest,
)
from trainshed.async_client import AsyncClient
from trainshed.client import Client
from trainshed.errors import ClientError, ServerUnreachable, TrainshedApiError, UnexpectedResponse, UsageError
from trainshed.items import AsyncItems, Items
from trainshed.notebook.answers import (
    Comparison,
    Job,
    JobDetail,
    JobEvaluation,
    JobMetrics,
    Metrics,
    Predictions,
    SweepDetail,
)

__all__ = [
    "ApiKeyCreate",
    "ApiKeyUpdate",
    "AsyncClient",
    "AsyncItems",
    "Client",
    "ClientError",
    "Comparison",
    "EvaluateJobCreate",
    "EvaluateRequest",
    "GridSweepCreate",
    "Items",
    "Job",
    "JobDetail",
    "JobEvaluation",
    "JobKind",
    "JobMetrics",
    "JobState",
    "Metrics",
    "Predictions",
    "RandomSweepCreate",
    "Range",
    "Scope",
    "ServerUnreachable",
    "SweepDetail",
    "TrainJobCreate",
    "TrainRequest",
    "TrainshedApiError",
    "UnexpectedResponse",
    "UsageError",
]
