"""Uvicorn's access log with structured fields, the API key and the response time, and without probes."""

import logging
from contextvars import ContextVar
from uuid import UUID

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that monitoring programs request again and again."""

_FIELDS = ("client", "method", "path", "http", "status")

_response_s: ContextVar[float | None] = ContextVar("response_s", default=None)
_caller: ContextVar[tuple[str, UUID | None] | None] = ContextVar("caller", default=None)


def response_begins(after_s: float) -> None:
    """Record the seconds from the request to the beginning of its response, for its line in the log."""
    _response_s.set(after_s)


def made_by(name: str, key_id: UUID | None) -> None:
    """Record the name and the id of the request's API key, for its line in the log."""
    _caller.set((name, key_id))


class AccessLog(logging.Filter):
    """Filter for the logger `uvicorn.access`, whose records have client, method, path, HTTP and status."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the parts of a record as its fields; return whether to log it: successful probes are not."""
        if not isinstance(record.args, tuple) or len(record.args) != len(_FIELDS):
            return True
        fields = dict(zip(_FIELDS, record.args, strict=True))
        if fields["path"] in PROBES and fields["status"] == 200:
            return False
        del fields["http"]
        if (response_s := _response_s.get()) is not None:
            fields["ms"] = round(1_000 * response_s, 2)
        if (caller := _caller.get()) is not None:
            name, key_id = caller
            fields |= {"key": name} if key_id is None else {"key": name, "key_id": str(key_id)}
        record.msg, record.args = "%s %s %s", (fields["method"], fields["path"], fields["status"])
        vars(record).update(fields)
        return True


def install() -> None:
    """Filter the access log of this process. Idempotent."""
    logger = logging.getLogger("uvicorn.access")
    if not any(isinstance(each, AccessLog) for each in logger.filters):
        logger.addFilter(AccessLog())
