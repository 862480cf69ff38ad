"""Traces of OpenTelemetry, if the environment asks for them; else nothing of it is imported here."""

from shared.tracing.spans import are_on, begin, current, fail, provider, remote, start, stop, traceparent

__all__ = ["are_on", "begin", "current", "fail", "provider", "remote", "start", "stop", "traceparent"]
