"""Checks of the export of traces, if enabled: whether it is possible, and the collector accepts spans."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shared.settings import Settings
from shared.tracing import environment
from trainshed.doctor.findings import TIMEOUT_S, Finding, ok, warning

_SUBJECT = "traces"
_LOGGER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def check(_settings: Settings) -> Iterator[Finding]:
    """Check the export with an empty batch of spans. Without traces everything else works."""
    if not environment.are_wanted():
        return
    if (obstacle := environment.obstacle()) is not None:
        message, _, advice = obstacle.partition(": ")
        yield warning(_SUBJECT, f"no traces are exported: {message}", advice)
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    with _logged() as reasons:
        is_accepted = OTLPSpanExporter(timeout=TIMEOUT_S).export(()) is SpanExportResult.SUCCESS
    where = environment.shown_endpoint()
    if is_accepted:
        yield ok(_SUBJECT, f"the collector at {where} accepts spans")
    else:
        message = f"the collector at {where} accepts no spans: {reasons[0] if reasons else 'it says nothing'}"
        yield warning(_SUBJECT, message, "correct OTEL_EXPORTER_OTLP_ENDPOINT or _HEADERS, or the collector")


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect the SDK's log lines, which say why an export has failed, instead of writing them."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(_LOGGER)
    before = {name: getattr(logger, name) for name in ("handlers", "filters", "propagate")}
    vars(logger).update(handlers=[handler], filters=[], propagate=False)
    try:
        yield lines
    finally:
        vars(logger).update(before)
