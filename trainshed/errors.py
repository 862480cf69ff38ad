"""The errors that the client raises on purpose.

ClientError
├── ServerUnreachable      no response
├── UnexpectedResponse     a response that is not Trainshed's
├── TrainshedApiError      the server refused the request, or failed
├── UsageError             an invalid option, value or reference
│   ├── InvalidArgument    values of a wrong type, or out of their range
│   └── UnknownField
└── StackError             the local stack cannot start, or cannot be kept running
    └── StackRunning       another stack runs on the same data
"""

from pathlib import Path

from pydantic import ValidationError

from shared.schemas import Problem
from shared.schemas.refusals import place_of, told


class ClientError(Exception):
    """Base of all errors that the client raises on purpose; the message is for people."""


class ServerUnreachable(ClientError):
    """The server did not respond."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the server at {url} cannot be reached ({reason}). Start one with `trainshed up`, or name "
            "another with --url or TRAINSHED_URL."
        )


class UnexpectedResponse(ClientError):
    """A response that is not Trainshed's: another program listens there, or a proxy interferes."""


class TrainshedApiError(ClientError):
    """The server refused the request, or failed.

    Attributes:
        problem: the server's explanation (RFC 9457).
    """

    def __init__(self, problem: Problem) -> None:
        text = problem.detail or problem.title
        by_id = problem.status >= 500 and problem.request_id  # the id of the details in the server's log
        super().__init__(f"{text} (request {problem.request_id})" if by_id else text)
        self.problem = problem


class UsageError(ClientError):
    """An option, a value or a reference is invalid."""


class InvalidArgument(UsageError, ValueError):
    """Arguments are of a wrong type, or out of their range.

    Attributes:
        details: pydantic's error for each invalid argument.
    """

    def __init__(self, error: ValidationError) -> None:
        self.details = error.errors()
        lines = (
            told(place_of([part for part in each["loc"] if part != "spec"]), each) for each in self.details
        )
        super().__init__("; ".join(lines))


class UnknownField(UsageError, TypeError):
    """A keyword argument is not a field of the job."""


class StackError(ClientError):
    """The local stack cannot start, or cannot be kept running."""


class StackRunning(StackError):
    """Another stack runs on the same data.

    Attributes:
        url: the URL of the running stack's API.
    """

    def __init__(self, data_dir: Path, url: str, pid: int) -> None:
        super().__init__(
            f"a stack already runs on {data_dir}: {url}, process {pid}. Use it, stop it, or set "
            "TRAINSHED_DATA_DIR to another folder."
        )
        self.url = url
