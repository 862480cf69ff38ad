"""The Python client, the command line and the local stack."""

from shared.schemas import EvaluateJobCreate, EvaluateRequest, TrainJobCreate, TrainRequest
from trainshed.client import Client
from trainshed.errors import ClientError, ServerUnreachable, TrainshedApiError, UnexpectedAnswer

__all__ = [
    "Client",
    "ClientError",
    "EvaluateJobCreate",
    "EvaluateRequest",
    "ServerUnreachable",
    "TrainJobCreate",
    "TrainRequest",
    "TrainshedApiError",
    "UnexpectedAnswer",
]
