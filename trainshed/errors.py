"""Every error of the client's, in one tree.

ClientError
├── ServerUnreachable      no answer at all
├── UnexpectedAnswer       an answer that is not Trainshed's
├── TrainshedApiError      Trainshed says no, and why
├── UsageError             what was asked for cannot be, whatever the server says
└── StackError             the local stack cannot be started, or not kept running
    └── StackRunning       another one runs on the same data
"""

from shared.schemas import Problem


class ClientError(Exception):
    """Base of every error that the client raises on purpose; the message is for people."""


class ServerUnreachable(ClientError):
    """The server did not answer.

    Attributes:
        url: of the server.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the server at {url} cannot be reached ({reason}). Start one with `trainshed up`, or name "
            "another with --url or TRAINSHED_URL."
        )
        self.url = url


class UnexpectedAnswer(ClientError):
    """Something answered that does not talk as Trainshed does."""


class TrainshedApiError(ClientError):
    """The server refused, or failed.

    Attributes:
        problem: what it said.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem


class UsageError(ClientError):
    """What was asked for cannot be."""


class StackError(ClientError):
    """The local stack cannot be started, or not kept running."""


class StackRunning(StackError):
    """Another stack runs on the same data.

    Attributes:
        url: of its API.
        pid: of the process that started it.
    """

    def __init__(self, data_dir: object, url: str, pid: int) -> None:
        super().__init__(
            f"a stack is running on {data_dir} already: {url}, process {pid}. Use that one, stop it, or set "
            "TRAINSHED_DATA_DIR to another folder."
        )
        self.url = url
        self.pid = pid
