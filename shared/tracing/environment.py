"""Reads from OpenTelemetry's environment variables whether traces are wanted, and whether they are possible.

The variables are OpenTelemetry's own, as its specification defines them, so that one configuration serves
all programs of a host. OpenTelemetry's SDK reads the other variables: samplers, limits, headers, certificates
and resources.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from os import environ  # noqa: TID251 (OpenTelemetry's variables are not settings of this system)
from urllib.parse import urlsplit

from shared.addresses import public

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER = "OTEL_TRACES_EXPORTER"


def are_wanted(variables: Mapping[str, str] = environ) -> bool:
    """Return whether to export traces: an endpoint or an exporter is named, and traces are not disabled."""
    exporter = _value(variables, _EXPORTER)
    if _value(variables, "OTEL_SDK_DISABLED") == "true" or exporter == "none":
        return False
    return bool(exporter or _endpoint(variables))


def shown_endpoint(variables: Mapping[str, str] = environ) -> str:
    """Return the URL of the collector as it is configured, but without a password, for display."""
    return public(_endpoint(variables) or "http://localhost:4318").rstrip("/")


def obstacle(variables: Mapping[str, str] = environ) -> str | None:
    """Return why no traces can be exported although they are wanted, and what to do; None if they can."""
    exporter = _value(variables, _EXPORTER)
    if exporter not in ("", "otlp"):
        return f"{_EXPORTER} is {exporter}: only otlp and none are supported"
    for name in _PROTOCOLS:
        protocol = _value(variables, name)
        if protocol not in ("", "http/protobuf"):
            return f"{name} is {protocol}: only http/protobuf is supported, to the collector's port 4318"
    url = _endpoint(variables)
    if url is not None and not _is_http(url):
        return f"{public(url)} is no address of a collector: use one such as http://localhost:4318"
    if not _is_installed():
        return "OpenTelemetry's SDK is not installed: pip install 'trainshed[traces]', in an image: TRACES=1"
    return None


def _endpoint(variables: Mapping[str, str]) -> str | None:
    return next((value for name in _ENDPOINTS if (value := variables.get(name, "").strip())), None)


def _value(variables: Mapping[str, str], name: str) -> str:
    return variables.get(name, "").strip().lower()


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_installed() -> bool:
    try:
        return bool(find_spec("opentelemetry.sdk") and find_spec("opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        return False
