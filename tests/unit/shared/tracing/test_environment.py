"""When traces are exported, and what is said where they cannot be."""

import importlib.util
from collections.abc import Mapping
from importlib.machinery import ModuleSpec

import pytest

from shared.tracing.environment import are_wanted, obstacle, shown_endpoint

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "mine", "OTEL_TRACES_SAMPLER": "always_on"}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://localhost:4318/v1/metrics"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True),
    ],
)
def test_traces_are_wanted_where_an_endpoint_or_an_exporter_is_named(
    variables: Mapping[str, str], wanted: bool
) -> None:
    assert are_wanted(variables) is wanted


def test_the_endpoint_of_traces_precedes_that_of_all_signals() -> None:
    own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces:4318/v1/traces"}
    assert shown_endpoint({**ENDPOINT, **own}) == "http://traces:4318/v1/traces"
    assert shown_endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://me:secret@host/"}) == "https://host"
    assert shown_endpoint({"OTEL_TRACES_EXPORTER": "otlp"}) == "http://localhost:4318"


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (ENDPOINT, None),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, None),
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER is console: only otlp and none"),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is grpc: only http/protobuf is supported",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}, "localhost:4317 is no address of a collector"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "is no address of a collector"),
    ],
)
def test_an_obstacle_says_what_to_do(variables: Mapping[str, str], text: str | None) -> None:
    found = obstacle(variables)
    assert found is None if text is None else found is not None and text in found


def test_an_obstacle_shows_no_password() -> None:
    found = obstacle({"OTEL_EXPORTER_OTLP_ENDPOINT": "grpc://user:secret@host:4317?token=secret"})
    assert found is not None
    assert "secret" not in found


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("shared.tracing.environment.find_spec", find)
    assert "not installed: pip install 'trainshed[traces]'" in str(obstacle(ENDPOINT))
    assert importlib.util.find_spec("opentelemetry.sdk")  # here it is
