"""Logging: one JSON object a line on stderr, with the job, attempt and worker that it is about."""

import logging
import re
import sys
from collections.abc import Iterable
from typing import Any

import structlog

_API_KEY = r"(?P<id>ts_[0-9a-f]{32}_)[0-9a-f]+"

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]

# from the first line on, also in a program that never calls `configure`: a log line is never on stdout
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_SHARED,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)


class _Secrets:
    """The texts that no log may hold, in a pattern that finds them."""

    def __init__(self) -> None:
        self.learn(())

    def learn(self, secrets: Iterable[str]) -> None:
        """Know these from now on, instead of others."""
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._pattern = re.compile("|".join([_API_KEY, *map(re.escape, known)]))

    def hide(self, text: str) -> str:
        """The text with stars for every secret in it, and for the secret part of every API key."""
        return self._pattern.sub(lambda found: f"{found['id'] or ''}***", text)


_secrets = _Secrets()
hide = _secrets.hide


def configure(level: str, *, secrets: Iterable[str] = ()) -> None:
    """Send every log line of this process, libraries' too, to stderr as JSON.

    Args:
        level: the least important level that is logged, such as `INFO`.
        secrets: texts that stand in no line, such as passwords; stars do instead.
    """
    _secrets.learn(secrets)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
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
    # it announces itself at every look at the schema's version
    logging.getLogger("alembic").setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose keyword arguments become fields of the line."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def request_id() -> str | None:
    """The id of the API's request that is being answered, where one is bound."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return None if found is None else str(found)


bound = structlog.contextvars.bound_contextvars
