"""Copies what is logged while an attempt runs into the database, on a thread of its own."""

import logging
import math
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared import log
from shared.db.engine import Database
from shared.schemas import LogLevel
from shared.store import job_logs
from shared.store.transitions import AttemptId

_log = log.get_logger(__name__)

_GATHER_S = 0.5  # as long are lines gathered before they are written together
_MAX_PENDING = 10_000  # lines; while the database is away, later ones are dropped
_MAX_LENGTH = 4_000  # characters of one text
# what every line of an attempt would say again
_KNOWN = frozenset({"event", "level", "logger", "timestamp", "job_id", "attempt", "worker", "request_id"})


class JobLogHandler(logging.Handler):
    """A handler for the root logger: takes the lines of attempts, and leaves all others.

    Taking a line costs microseconds; what it takes may be lost if the process is killed within half a second.
    """

    def __init__(self, database: Database, *, hide: Callable[[str], str] = str) -> None:
        """Start to take lines.

        Args:
            database: where they go; best its own, with little patience.
            hide: takes secrets out of a text.
        """
        super().__init__()
        self._database = database
        self._hide = hide
        self._pending: list[tuple[AttemptId, job_logs.Line]] = []
        self._attempt: AttemptId | None = None
        self._count = 0
        self._taking = threading.Lock()
        self._came = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="job log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, if the thread that logs it works for an attempt."""
        bound = structlog.contextvars.get_contextvars()
        if "job_id" not in bound or "attempt" not in bound or len(self._pending) >= _MAX_PENDING:
            return
        attempt = AttemptId(UUID(bound["job_id"]), bound["attempt"])
        if attempt != self._attempt:
            self._attempt, self._count = attempt, 0
        self._count += 1
        if self._count <= job_logs.MAX_LINES:
            line = self._line(record)
            with self._taking:
                self._pending.append((attempt, line))
            self._came.set()

    def close(self) -> None:
        """Write what was taken, and end."""
        self._ended.set()
        self._came.set()
        self._thread.join()
        super().close()

    def _line(self, record: logging.LogRecord) -> job_logs.Line:
        event = record.msg if isinstance(record.msg, dict) else {"event": self.format(record)}
        return job_logs.Line(
            number=self._count,
            at=datetime.fromtimestamp(record.created, UTC),
            level=_level(record.levelno),
            message=self._text(event.get("event", "")),
            fields={name: self._value(value) for name, value in event.items() if name not in _KNOWN},
        )

    def _value(self, value: Any) -> Any:
        if (
            value is None
            or isinstance(value, bool | int)
            or (isinstance(value, float) and math.isfinite(value))
        ):
            return value
        return self._text(value)

    def _text(self, value: object) -> str:
        # PostgreSQL's texts hold no NUL
        return self._hide(str(value)[:_MAX_LENGTH]).replace("\x00", "?")

    def _write_all(self) -> None:
        while not self._ended.is_set():
            self._came.wait()
            self._ended.wait(_GATHER_S)
            self._came.clear()
            self._write_pending()

    def _write_pending(self) -> None:
        with self._taking:
            taken, self._pending = self._pending, []
        groups = defaultdict(list)
        for attempt, line in taken:
            groups[attempt].append(line)
        for attempt, lines in groups.items():
            try:
                self._database.write(partial(job_logs.append, attempt=attempt, lines=lines))
            except SQLAlchemyError as error:
                # this thread works for no attempt, so that this line does not come here again
                _log.warning(
                    "lines of a job's log were lost", job_id=str(attempt.job_id), error=type(error).__name__
                )


def _level(number: int) -> LogLevel:
    names = (LogLevel.DEBUG, LogLevel.INFO, LogLevel.WARNING, LogLevel.ERROR, LogLevel.CRITICAL)
    return names[max(0, min(4, number // 10 - 1))]
