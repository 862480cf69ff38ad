"""A collector of traces on loopback: decodes what OpenTelemetry's exporters POST, as OTLP over HTTP says."""

import gzip
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.waiting import wait_until

# so that a test need not wait for five seconds
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was received; ids are in hexadecimal, `parent_id` is empty for the first of a trace."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]
    links: tuple[tuple[str, str, Mapping[str, Any]], ...]
    failed: bool
    message: str
    started_ns: int
    ended_ns: int


@dataclass
class Collector:
    """What a collector has received, and how it answers.

    Attributes:
        requests: how many requests it has received, answered or not.
        status: of its answers; spans of a request that is refused are not kept.
        may_answer: it does not answer before this is set.
    """

    spans: list[ReceivedSpan] = field(default_factory=list)
    requests: int = 0
    status: int = 200
    may_answer: Event = field(default_factory=Event)
    port: int = 0

    def __post_init__(self) -> None:
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a program sends its spans here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, **SOON}

    def named(self, name: str, **attributes: Any) -> list[ReceivedSpan]:
        """Return the spans with a name and these attributes, with `_` for the dots of their names."""
        return [
            span
            for span in list(self.spans)
            if span.name == name
            and all(span.attributes.get(key.replace("_", ".")) == value for key, value in attributes.items())
        ]

    def wait_for(self, name: str, timeout: float = 20.0, **attributes: Any) -> ReceivedSpan:
        """Wait for a span as `named` finds it, and return the first one."""
        what = f"a span {name} was received, besides {sorted({span.name for span in self.spans})}"
        return wait_until(lambda: self.named(name, **attributes), what, timeout)[0]

    def within(self, span: ReceivedSpan) -> list[ReceivedSpan]:
        """Return the children of a span, in the order in which they began."""
        children = [each for each in list(self.spans) if each.parent_id == span.span_id]
        return sorted(children, key=lambda each: each.started_ns)

    def receive(self, body: bytes) -> int:
        """Keep the spans of a request; return the status of the answer."""
        self.requests += 1
        self.may_answer.wait(60)
        if self.status == 200:
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        return self.status


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector for the length of a `with` block."""
    collector = Collector()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(collector.receive))
    server.daemon_threads = False  # so that `server_close` waits for them
    collector.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield collector
    finally:
        collector.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(receive: Callable[[bytes], int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces", self.path
            assert self.headers["Content-Type"] == "application/x-protobuf"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            self.send_response(receive(body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _spans(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            yield from (_span(service, span) for span in scope.spans)


def _span(service: str, span: SpanMessage) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_attributes(span.attributes),
        events=tuple((event.name, _attributes(event.attributes)) for event in span.events),
        links=tuple(
            (link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links
        ),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        message=span.status.message,
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
    )


def _attributes(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")
