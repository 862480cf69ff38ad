"""The Python client, the command line and the local stack."""

from client.errors import ClientError, ServerUnreachable, TrainshedApiError, UnexpectedAnswer
from client.trainshed import Trainshed
from shared.schemas import EvaluateJobCreate, EvaluateRequest, TrainJobCreate, TrainRequest

__all__ = [
    "ClientError",
    "EvaluateJobCreate",
    "EvaluateRequest",
    "ServerUnreachable",
    "TrainJobCreate",
    "TrainRequest",
    "Trainshed",
    "TrainshedApiError",
    "UnexpectedAnswer",
]
