"""Samples of an exposition in Prometheus's text format."""

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Values by name and labels."""


def read(exposition: bytes) -> Samples:
    """Return the samples of an exposition."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """Return the value of one of Trainshed's samples, without the prefix of its name; None: there is none."""
    return samples.get((f"trainshed_{name}", frozenset(labels.items())))
