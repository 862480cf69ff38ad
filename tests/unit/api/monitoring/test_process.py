"""A process reports its version, its memory and its CPU time."""

import platform
from importlib.metadata import version

from prometheus_client.parser import text_string_to_metric_families

from api.monitoring.process import ProcessMetrics


def test_a_process_reports_itself() -> None:
    families = text_string_to_metric_families(ProcessMetrics().exposition().decode())
    samples = {sample.name: sample for family in families for sample in family.samples}
    assert samples["trainshed_build_info"].labels == {
        "version": version("trainshed"),
        "python": platform.python_version(),
    }
    assert samples["process_resident_memory_bytes"].value > 1_000_000
    assert samples["process_cpu_seconds_total"].value > 0
