"""The Python client, the command line and the local stack."""

from client.errors import ClientError, ServerUnreachable, TrainshedApiError, UnexpectedAnswer
from client.trainshed import Trainshed

__all__ = ["ClientError", "ServerUnreachable", "Trainshed", "TrainshedApiError", "UnexpectedAnswer"]
