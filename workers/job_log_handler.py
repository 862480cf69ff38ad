"""Logging handler that collects the log lines of attempts until they are stored with their jobs."""

import logging
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from shared import log
from shared.db.engine import Database
from shared.db.outages import is_unavailable
from shared.schemas import LogLevel
from shared.store import job_logs
from shared.store.transitions import AttemptId
from shared.texts import MAX_MESSAGE_CHARS, storable

_log = log.get_logger(__name__)

_MAX_PENDING_LINES = 10_000  # further lines are dropped while the database is unavailable
# fields that are columns of the table, or the same in every line of an attempt
_OMITTED_FIELDS = frozenset(
    {
        *("event", "level", "logger", "timestamp"),
        *("job_id", "attempt", "worker", "request_id", "trace_id", "span_id"),
    }
)
_AttemptLine = tuple[AttemptId, job_logs.Line]
REPEATS_EVENTS = "trainshed.events"
"""The logger of lines that repeat a job's events; these lines are not stored with the job."""

_LEVELS = tuple(LogLevel)  # the standard library's numbers are 10, 20, ... 50


class JobLogHandler(logging.Handler):
    """Handler for the root logger that keeps lines logged by an attempt's thread and ignores all others.

    Emitting a line takes microseconds. Another thread writes the lines: see `workers/scribe.py`.
    """

    def __init__(self, *, hide: Callable[[str], str] = str) -> None:
        """Start without lines; `hide` replaces secrets in a text."""
        super().__init__()
        self.logged: Callable[[], object] = lambda: None
        """Called for each line that is queued."""
        self._hide = hide
        self._pending: list[_AttemptLine] = []
        self._attempt: AttemptId | None = None
        self._line_count = 0
        self._pending_lock = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line for writing, if the thread that logs it runs an attempt."""
        context = structlog.contextvars.get_contextvars()
        is_of_attempt = "job_id" in context and "attempt" in context
        if not is_of_attempt or record.name == REPEATS_EVENTS or len(self._pending) >= _MAX_PENDING_LINES:
            return
        attempt = AttemptId(UUID(context["job_id"]), context["attempt"])
        if attempt != self._attempt:
            self._attempt, self._line_count = attempt, 0
        self._line_count += 1
        if self._line_count <= job_logs.MAX_LINES:
            line = self._line_or_note(record)
            with self._pending_lock:
                self._pending.append((attempt, line))
            self.logged()

    def write(self, database: Database) -> None:
        """Store the queued lines. If the database stays unavailable, they are lost."""
        with self._pending_lock:
            pending, self._pending = self._pending, []
        try:
            self._write(database, pending)
        except Exception as error:  # any error: the next job's lines need the calling thread
            # the calling thread runs no attempt, so this line does not come back to this handler
            _log.warning("job log lines lost", lines=len(pending), error=type(error).__name__)

    def _line_or_note(self, record: logging.LogRecord) -> job_logs.Line:
        try:
            return self._line(record)
        except Exception as error:  # such as arguments that do not fit the message
            at = datetime.fromtimestamp(record.created, UTC)
            return _note(job_logs.Line(self._line_count, at, LogLevel.WARNING, "", {}), error)

    def _line(self, record: logging.LogRecord) -> job_logs.Line:
        event = record.msg if isinstance(record.msg, dict) else {"event": self.format(record)}
        return job_logs.Line(
            number=self._line_count,
            at=datetime.fromtimestamp(record.created, UTC),
            level=_LEVELS[max(0, min(4, record.levelno // 10 - 1))],
            message=self._text(event.get("event", "")),
            fields={
                self._text(name): self._value(value)
                for name, value in event.items()
                if name not in _OMITTED_FIELDS
            },
        )

    def _value(self, value: Any) -> Any:
        # JSON has no infinity and no NaN
        is_json = math.isfinite(value) if isinstance(value, float) else isinstance(value, int | None)
        return value if is_json else self._text(value)

    def _text(self, value: object) -> str:
        # cut first: the time for hiding secrets grows with the length of the text
        return storable(self._hide(str(value)[: MAX_MESSAGE_CHARS + 1]))

    def _write(self, database: Database, lines: Sequence[_AttemptLine]) -> None:
        """Store lines. If the database refuses them, store each alone, or a note in its place."""
        try:
            _append(database, lines)
        except Exception as error:
            if is_unavailable(error):
                raise
            for attempt, line in lines:
                _append_line_or_note(database, attempt, line)


def _append_line_or_note(database: Database, attempt: AttemptId, line: job_logs.Line) -> None:
    try:
        _append(database, [(attempt, line)])
    except Exception as error:
        if is_unavailable(error):
            raise
        _append(database, [(attempt, _note(line, error))])


def _append(database: Database, lines: Sequence[_AttemptLine]) -> None:
    lines_by_attempt = defaultdict(list)
    for attempt, line in lines:
        lines_by_attempt[attempt].append(line)
    if lines:
        database.write(partial(job_logs.append, lines=lines_by_attempt))


def _note(line: job_logs.Line, error: Exception) -> job_logs.Line:
    """Return the note that is stored in place of a line that cannot be stored."""
    message = f"a line that could not be stored, {type(error).__name__}: the worker's own log may have it"
    return replace(line, message=message, fields={})
