"""What a job's attempts logged."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.schemas.base import Response


class LogLevel(StrEnum):
    """How important a line of a log is, least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class JobLogLine(Response):
    """One line of a job's log.

    Attributes:
        cursor: names the line; `after` it come the later ones.
        attempt: which attempt logged it.
        at: when, by the worker's clock.
        fields: what the message is about.
    """

    cursor: str
    attempt: int
    at: datetime
    level: LogLevel
    message: str
    fields: dict[str, Any]


class JobLogPage(Response):
    """Some lines of a job's log, oldest first.

    Attributes:
        next_cursor: where the next page begins; also after the last line, since more may come.
    """

    data: tuple[JobLogLine, ...]
    next_cursor: str
    has_more: bool
