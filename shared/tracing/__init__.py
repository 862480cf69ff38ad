"""OpenTelemetry traces, if the environment asks for them; otherwise OpenTelemetry is not imported here."""

from shared.tracing.spans import are_on, begin, current, fail, provider, remote, start, stop, traceparent

__all__ = ["are_on", "begin", "current", "fail", "provider", "remote", "start", "stop", "traceparent"]
