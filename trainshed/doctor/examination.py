"""The examination: all checks, one after the other."""

from collections.abc import Iterator, Sequence

from shared.settings import Settings
from trainshed.doctor import database, datasets, disk, gpus, redis, settings, traces, webhooks, workers
from trainshed.doctor.findings import Check, Finding, error

CHECKS: Sequence[Check] = (
    settings.check,
    disk.check,
    database.check,
    redis.check,
    datasets.check,
    workers.check,
    webhooks.check,
    traces.check,
    gpus.check,  # the slowest: it starts TensorFlow
)


def examine(configured: Settings) -> Iterator[Finding]:
    """Run every check, and yield each finding as soon as it is made."""
    for check in CHECKS:
        try:
            yield from check(configured)
        except Exception as failed:  # the other checks must still run
            name = check.__module__.rpartition(".")[-1]
            message = f"the check itself failed: {type(failed).__name__}: {failed}"
            yield error(name, message, "report this to the authors of Trainshed")
