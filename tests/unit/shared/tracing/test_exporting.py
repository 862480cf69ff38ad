"""The export of spans: names, samplers, limits, and collectors that do not answer."""

import logging
from time import monotonic

import pytest

from shared import tracing
from shared.tracing import exporting
from tests.support.ports import closed_port
from tests.support.trace_collector import Collector
from tests.support.waiting import wait_until


def end_span(name: str) -> None:
    span = tracing.begin(name)
    assert span is not None
    span.end()


def restart(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Start the export of this process again, with further variables of OpenTelemetry's."""
    tracing.stop()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    tracing.start("default-name")


@pytest.mark.parametrize(
    ("variables", "service"),
    [
        ({}, "default-name"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs"}, "theirs"),
    ],
)
def test_the_environment_names_the_service(
    traces: Collector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], service: str
) -> None:
    restart(monkeypatch, **variables)
    end_span("named")
    tracing.stop()
    assert traces.wait_for("named").service == service


def test_the_environment_chooses_the_sampler(traces: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    restart(monkeypatch, OTEL_TRACES_SAMPLER="always_off")
    end_span("unsampled")
    restart(monkeypatch, OTEL_TRACES_SAMPLER="always_on", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    end_span("sampled")
    tracing.stop()
    traces.wait_for("sampled")
    assert traces.named("unsampled") == []


def test_spans_wait_for_a_collector_that_comes_back(traces: Collector) -> None:
    traces.status = 503
    end_span("early")
    wait_until(lambda: traces.requests, "the collector was asked")
    traces.status = 200
    traces.wait_for("early")


def test_neither_a_span_nor_the_end_waits_for_a_collector_that_does_not_answer(traces: Collector) -> None:
    traces.may_answer.clear()
    started_at = monotonic()
    for _ in range(10_000):  # more than wait for it
        end_span("waiting")
    assert monotonic() - started_at < 3
    wait_until(lambda: traces.requests, "the collector was asked")
    started_at = monotonic()
    tracing.stop()
    assert monotonic() - started_at < exporting._STOP_TIMEOUT_S + 1


def test_a_collector_that_is_away_is_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closed_port() as port:
        restart(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
        end_span("lost")
        tracing.stop()
    lines = [record.getMessage() for record in caplog.records if "exporting" in record.getMessage()]
    assert len(lines) == 1
    assert "Connection refused" in lines[0]

    moments = iter([0.0, 1.0, 59.0, 61.0])
    limit = exporting._LineLimit(lambda: next(moments))
    record = logging.makeLogRecord({"msg": "%s is away", "args": ("it",)})
    assert [limit.filter(record) for _ in range(3)] == [True, False, False]
    assert limit.filter(record)
    assert record.getMessage() == "it is away (2 more like this in the last minutes)"
