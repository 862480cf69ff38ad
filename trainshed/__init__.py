"""The Python client. (`trainshed.cli` is the command line, `trainshed.local` the stack of one machine.)"""

from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    GridSweepCreate,
    RandomSweepCreate,
    TrainJobCreate,
    TrainRequest,
)
from trainshed.client import Client
from trainshed.errors import ClientError, ServerUnreachable, TrainshedApiError, UnexpectedResponse

__all__ = [
    "Client",
    "ClientError",
    "EvaluateJobCreate",
    "EvaluateRequest",
    "GridSweepCreate",
    "RandomSweepCreate",
    "ServerUnreachable",
    "TrainJobCreate",
    "TrainRequest",
    "TrainshedApiError",
    "UnexpectedResponse",
]
