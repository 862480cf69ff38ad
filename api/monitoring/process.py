"""Metrics of this process: its version, CPU time, memory and open files."""

import platform
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest


class ProcessMetrics:
    """The metrics of this process for Prometheus. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # has metrics on Linux only
        build = Gauge(
            "trainshed_build_info",
            "The version that runs; always 1.",
            ("version", "python"),
            registry=self._registry,
        )
        build.labels(version("trainshed"), platform.python_version()).set(1)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self._registry)
