"""Trace spans of requests, which FastAPI creates if traces are exported."""

from typing import Any

from fastapi.telemetry import TelemetryConfig
from starlette.types import Scope

from api.http.access_log import PROBES
from shared import tracing

SERVICE = "trainshed-api"
_ASSETS = "/static/"


def telemetry() -> TelemetryConfig:
    """Return FastAPI's tracing configuration: requests, not their parts, or nothing without an exporter."""
    provider = tracing.provider()
    config = TelemetryConfig(metrics=False, logs=False, operation_spans=False, auto_configure=False)
    if provider is None:  # FastAPI's search for a provider would take 10 us a request
        return {**config, "tracing": False}
    return {**config, "tracing": True, "tracer_provider": provider, "exclude": _is_left_out}


def _is_left_out(scope: Any) -> bool:
    return scope["path"] in PROBES or scope["path"].startswith(_ASSETS)


def note_route(scope: Scope) -> None:
    """Name the span of a request that is answered in front of FastAPI, after the route in its scope."""
    path = getattr(scope["route"], "path_format", None)
    if path is not None and tracing.are_on():
        from opentelemetry.trace import get_current_span

        span = get_current_span()
        span.update_name(f"{scope['method']} {path}")
        span.set_attribute("http.route", path)
