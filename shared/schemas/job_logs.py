"""Log lines of jobs."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.schemas.base import Response


class LogLevel(StrEnum):
    """The severity of a log line, least severe first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class JobLogLine(Response):
    """A line of a job's log.

    Attributes:
        cursor: the position after this line, for `cursor` or `after`.
        attempt: the attempt that logged it.
        at: the time by the worker's clock.
        fields: structured details of the message.
    """

    cursor: str
    attempt: int
    at: datetime
    level: LogLevel
    message: str
    fields: dict[str, Any]
