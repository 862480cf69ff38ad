"""Logging as JSON lines, with the bound context (job, attempt, worker, request) and no secrets."""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

_API_KEY = r"(?P<id>ts_[0-9a-f]{32}_)[0-9a-f]+"
_WEBHOOK_SECRET = r"whsec_[A-Za-z0-9+/]+=*"

# set for every request: 20 times as fast as structlog's variables
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def _add_request_id(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (request_id := _request_id.get()) is not None:
        line["request_id"] = request_id
    return line


_further_fields: Callable[[], Mapping[str, str]] | None = None


def _add_further_fields(
    _logger: Any, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if _further_fields is not None:
        line.update(_further_fields())
    return line


# fields of a request, which `api.http.access_log` adds
_EXTRA = ("client", "method", "path", "status", "ms", "key", "key_id")

_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    _add_request_id,
    _add_further_fields,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]

# on import, because structlog's default, for programs that never call `configure`, writes to stdout
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_PROCESSORS,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)


class _Secrets:
    """Texts that must not appear in logs, and the pattern that finds them."""

    def __init__(self) -> None:
        self.replace(())

    def replace(self, secrets: Iterable[str]) -> None:
        """Hide these texts from now on, instead of the former ones."""
        longest_first = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._pattern = re.compile("|".join([_API_KEY, _WEBHOOK_SECRET, *map(re.escape, longest_first)]))

    def hide(self, text: str) -> str:
        """Replace every secret in a text by stars, also the secret part of API keys and of webhooks."""
        return self._pattern.sub(lambda match: f"{match['id'] or ''}***", text)


_secrets = _Secrets()
hide = _secrets.hide


def configure(level: str, *, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Write all logs and warnings of this process, those of libraries too, as JSON lines.

    Args:
        level: the least severe level that is logged, such as `INFO`.
        secrets: texts that are replaced by stars in every line, such as passwords.
        stream: where lines are written; stderr by default.
    """
    _secrets.replace(secrets)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_PROCESSORS, structlog.stdlib.ExtraAdder(allow=_EXTRA)],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
                lambda _logger, _method, line: hide(str(line)),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    # Alembic logs two lines at INFO whenever the schema's version is read
    logging.getLogger("alembic").setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose keyword arguments become fields of the JSON line."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def request_id() -> str | None:
    """Return the id of the HTTP request that is being handled, or None outside of one."""
    return _request_id.get()


def handling_request(request_id: str) -> None:
    """Add this request id to the log lines of the current task and of the threads that it starts."""
    _request_id.set(request_id)


def add_fields(fields: Callable[[], Mapping[str, str]] | None) -> None:
    """Add the fields that `fields` returns to each log line of this process; None stops this."""
    global _further_fields
    _further_fields = fields


bound = structlog.contextvars.bound_contextvars
