"""Whether traces could be exported is found out, where they are asked for."""

import pytest

from shared.settings import Settings
from tests.support.ports import closed_port
from tests.support.trace_collector import running_collector
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import traces as traces_check

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_nothing_is_checked_unless_traces_are_asked_for(settings: Settings, found: Found) -> None:
    assert found(traces_check.check, settings) == []


def test_a_collector_that_accepts_spans_is_good(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_collector() as collector:
        monkeypatch.setenv(ENDPOINT, f"{collector.url}/")
        [finding] = found(traces_check.check, settings)
    assert finding == ("ok", f"the collector at {collector.url} accepts spans", "")
    assert collector.requests == 1
    assert collector.spans == []


def test_a_collector_that_refuses_spans_is_named_with_its_reason(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_collector() as collector:
        collector.status = 401
        monkeypatch.setenv(ENDPOINT, collector.url)
        [(severity, message, _)] = found(traces_check.check, settings)
    assert severity == "warning"
    assert "code: 401, reason: Unauthorized" in message
    with closed_port() as port:
        monkeypatch.setenv(ENDPOINT, f"http://user:secret@127.0.0.1:{port}")
        [(severity, message, advice)] = found(traces_check.check, settings)
    assert severity == "warning"
    assert message.startswith(f"the collector at http://127.0.0.1:{port} accepts no spans: ")
    assert "Connection refused" in message
    assert ENDPOINT in advice
    assert "secret" not in message


def test_variables_with_which_nothing_is_exported_are_named(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert found(traces_check.check, settings) == [
        (
            "warning",
            "no traces are exported: OTEL_TRACES_EXPORTER is console",
            "only otlp and none are supported",
        )
    ]
