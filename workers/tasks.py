"""The Celery task that every message names: a worker has been woken up to run jobs."""

from celery import shared_task

from shared import broker
from workers import pool_process, runner


@shared_task(name=broker.RUN_JOBS, ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
def run_jobs(_queue: object) -> None:
    """Run jobs, whichever are next, until none can start; the queue is that of which some wait."""
    runner.run_jobs(pool_process.current())
