"""Spans of a process: none where they are off, and none of it fails or waits."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from shared import log, tracing
from tests.support.paths import ROOT
from tests.support.trace_collector import Collector

_OFF = """
import sys
from shared import tracing
tracing.start("off")
with tracing.current(tracing.begin("nothing")):
    assert tracing.traceparent(tracing.begin("nothing")) is None
tracing.stop()
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_nothing_of_opentelemetry_is_imported_where_traces_are_off(tmp_path: Path) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}
    for variables in ({}, {**endpoint, "OTEL_SDK_DISABLED": "true"}):
        environment = {"PYTHONPATH": str(ROOT), **variables}
        ran = subprocess.run(
            [sys.executable, "-c", _OFF], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_a_span_is_the_parent_of_those_that_begin_while_it_is_current(traces: Collector) -> None:
    outer = tracing.begin("outer", "server", attributes={"number": 1})
    assert outer is not None
    with tracing.current(outer):
        inner = tracing.begin("inner")
    after = tracing.begin("after")
    assert inner is not None
    assert after is not None
    tracing.fail(inner, "KeyError", "it is not there")
    for span in (inner, outer, after):
        span.end()
    tracing.stop()

    first = traces.wait_for("outer", number=1)
    [child] = traces.within(first)
    assert (first.kind, first.parent_id, first.failed) == ("server", "", False)
    assert (child.name, child.kind, child.failed) == ("inner", "internal", True)
    assert (child.message, child.attributes) == ("it is not there", {"error.type": "KeyError"})
    assert traces.wait_for("after").trace_id != first.trace_id


def test_a_traceparent_leads_to_its_span(traces: Collector) -> None:
    parent = tracing.begin("parent")
    text = tracing.traceparent(parent)
    assert text is not None
    assert len(text) == 55
    child = tracing.begin("child", parent=tracing.remote(text))
    for span in (child, parent):
        assert span is not None
        span.end()
    tracing.stop()
    assert traces.within(traces.wait_for("parent")) == [traces.wait_for("child")]


@pytest.mark.parametrize("text", [None, "", "00-zz-1-01", "00-" + 32 * "0" + "-" + 16 * "0" + "-01"])
def test_a_text_that_is_no_traceparent_leads_to_none(traces: Collector, text: str | None) -> None:
    span = tracing.begin("alone", parent=tracing.remote(text))
    assert span is not None
    span.end()
    tracing.stop()
    assert traces.wait_for("alone").parent_id == ""


@pytest.mark.usefixtures("logging_restored")
def test_lines_of_the_log_have_the_ids_of_the_current_span(
    traces: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("INFO")
    span = tracing.begin("current")
    with tracing.current(span):
        log.get_logger("here").info("within")
        logging.getLogger("some.library").info("within")
    log.get_logger("here").info("after")
    assert span is not None
    span.end()
    tracing.stop()
    received = traces.wait_for("current")
    ids = f'"trace_id": "{received.trace_id}", "span_id": "{received.span_id}"'
    *within, after = capsys.readouterr().err.splitlines()
    assert [ids in line for line in within] == [True, True]
    assert "trace_id" not in after


def test_where_traces_are_not_possible_a_line_says_why_and_the_process_goes_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    for name, value, reason in (
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf is supported"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many", "correct OpenTelemetry's variables (OTEL_...)"),
    ):
        with monkeypatch.context() as wrong:
            wrong.setenv(name, value)
            tracing.start("test")
            assert not tracing.are_on()
            assert tracing.begin("nothing") is None
        assert reason in caplog.text


def test_a_process_can_start_again_after_its_end(traces: Collector) -> None:
    tracing.stop()
    tracing.start("again")
    span = tracing.begin("second")
    assert span is not None
    span.end()
    tracing.stop()
    assert traces.wait_for("second").service == "again"
