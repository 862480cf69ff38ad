"""Spans of this process; unless it exports them, none are created, at no cost.

A process calls `start` once, after it was forked, and `stop` at its end. Nothing here fails, or waits for
the collector, except for `stop`, which waits for two seconds at most.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shared import log
from shared.tracing import environment

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, SpanContext

    from shared.tracing.exporting import Exporter

_log = log.get_logger(__name__)
_exporter: "Exporter | None" = None

Attributes = Mapping[str, str | int | float]


def start(service: str) -> None:
    """Export the spans of this process from now on, if the environment asks for that.

    If that is not possible, a line in the log says why and what to do, and the process runs without traces.

    Args:
        service: the name of the service, unless `OTEL_SERVICE_NAME` names it.
    """
    global _exporter
    if _exporter is not None or not environment.are_wanted():
        return
    reason = environment.obstacle()
    if reason is None:
        try:
            from shared.tracing.exporting import Exporter

            _exporter = Exporter(service)
        except Exception as error:  # the SDK refuses a variable's value: the process works without
            reason = f"{type(error).__name__}: {error}: correct OpenTelemetry's variables (OTEL_...)"
    if reason is not None:
        _log.warning("traces are off", reason=reason)
        return
    log.add_fields(_ids)


def stop() -> None:
    """Export the last spans, for at most 2 s, and none after that."""
    global _exporter
    exporter, _exporter = _exporter, None
    if exporter is not None:
        log.add_fields(None)
        exporter.stop()


def provider() -> "TracerProvider | None":
    """Return the provider by which libraries create spans; None if this process exports none."""
    return None if _exporter is None else _exporter.provider


def are_on() -> bool:
    """Return whether this process exports spans."""
    return _exporter is not None


def begin(
    name: str,
    kind: str = "internal",
    *,
    attributes: Attributes | None = None,
    parent: "Context | None" = None,
    links: "Sequence[Link]" = (),
    ids: "SpanContext | None" = None,
    at_ns: int | None = None,
) -> "Span | None":
    """Begin a span, which the caller ends; return None if this process exports none.

    Args:
        kind: one of OpenTelemetry's span kinds, in lower case.
        parent: the context of the parent; by default the current context.
        ids: the ids by which other processes refer to the span; by default random ones.
        at_ns: when the span began, in nanoseconds since 1970; by default now.
    """
    exporter = _exporter  # another thread may stop it meanwhile
    if exporter is None:
        return None
    from opentelemetry.trace import SpanKind

    options: dict[str, Any] = {"kind": SpanKind[kind.upper()], "attributes": attributes, "links": links}
    options |= {"context": parent, "start_time": at_ns}
    if ids is None:
        return exporter.tracer.start_span(name, **options)
    with exporter.choosing(ids):
        return exporter.tracer.start_span(name, **options)


@contextmanager
def current(span: "Span | None") -> Iterator[None]:
    """Make a span the current one within the block; the span does not end with the block."""
    if span is None:
        yield
        return
    from opentelemetry.trace import use_span

    with use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def fail(span: "Span", error_type: str, message: str | None = None) -> None:
    """Mark a span as failed."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR, message)


def traceparent(span: "Span | None") -> str | None:
    """Return the context of a span in the format of W3C Trace Context, which `remote` reads."""
    if span is None:
        return None
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def remote(parent: str | None) -> "Context":
    """Return the context that a `traceparent` describes, or a context without a span for None."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if parent is None else {"traceparent": parent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _ids() -> dict[str, str]:
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
