"""The Celery task that every message names: it has a worker run jobs."""

from celery import shared_task

from shared import broker
from workers import pool_process, runner


@shared_task(name=broker.RUN_JOBS, ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
def run_jobs(_queue: object) -> None:
    """Run the next jobs until none can start; the queue, in which jobs were waiting, is ignored."""
    runner.run_jobs(pool_process.current())
