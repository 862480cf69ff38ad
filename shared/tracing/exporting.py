"""The export of spans: OpenTelemetry's SDK as this system uses it. Imported only where spans are exported."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext

_STOP_TIMEOUT_S = 2.0
_LOG_INTERVAL_S = 60.0
_EXPORTING_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)


class Exporter:
    """Exports the spans of this process in batches, in a thread of its own, for which nobody waits.

    If the collector is unavailable or slow, up to `OTEL_BSP_MAX_QUEUE_SIZE` spans wait for it; further spans
    displace the oldest ones.
    """

    def __init__(self, service: str) -> None:
        """Start the thread.

        Args:
            service: the name of the service, unless the environment names it.

        Raises:
            Exception: a variable has a value that the SDK refuses.
        """
        _limit_log_lines()
        self._ids = _ChosenIds()
        # the environment's attributes take precedence over ours, which arguments of `create` do not allow
        own = {"service.name": service, "service.version": version("trainshed")}
        resource = Resource.create(own).merge(OTELResourceDetector().detect())
        self.provider = TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )  # `stop` shuts it down, in bounded time
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self.provider.get_tracer("trainshed", version("trainshed"))

    @contextmanager
    def choosing(self, ids: SpanContext) -> Iterator[None]:
        """Give these ids to the span that starts in this block; the trace's id only without a parent."""
        token = self._ids.chosen.set(ids)
        try:
            yield
        finally:
            self._ids.chosen.reset(token)

    def stop(self) -> None:
        """Export the waiting spans, for at most 2 s, and end the thread."""
        # the SDK would wait for as long as the collector lets each request wait
        thread = Thread(target=self.provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(_STOP_TIMEOUT_S)


class _ChosenIds(RandomIdGenerator):
    """Generates random ids, unless ids have been chosen."""

    def __init__(self) -> None:
        self.chosen: ContextVar[SpanContext | None] = ContextVar("chosen span", default=None)

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        chosen = self.chosen.get()
        return super().generate_trace_id() if chosen is None else chosen.trace_id

    def generate_span_id(self) -> int:
        """Return the id of a new span."""
        chosen = self.chosen.get()
        return super().generate_span_id() if chosen is None else chosen.span_id

    def is_trace_id_random(self) -> bool:
        """Return whether `generate_trace_id` returns a random id."""
        return self.chosen.get() is None


class _LineLimit(logging.Filter):
    """Passes one line a minute of those that the SDK logs while the collector is unavailable."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next_at = float("-inf")
        self._suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged; a logged record says how many were suppressed before it."""
        now = self._clock()
        if now < self._next_at:
            self._suppressed += 1
            return False
        self._next_at = now + _LOG_INTERVAL_S
        if self._suppressed:
            record.msg = f"{record.getMessage()} ({self._suppressed} more like this in the last minutes)"
            record.args = None
        self._suppressed = 0
        return True


def _limit_log_lines() -> None:
    limit = _LineLimit()
    for name in _EXPORTING_LOGGERS:
        logging.getLogger(name).filters = [limit]
