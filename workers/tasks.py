"""Celery task that runs an attempt at a job; every message of the broker names it."""

from uuid import UUID

from celery import shared_task

from shared import broker, log
from workers import pool_process, runner

_log = log.get_logger(__name__)


@shared_task(name=broker.RUN_JOB, ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
def run_job(job_id: str) -> None:
    """Run one attempt at a job, if it can be claimed."""
    try:
        id_ = UUID(job_id)
    except ValueError:
        _log.error("message without a valid job id", job_id=job_id)
        return
    runner.run_attempt(pool_process.current(), id_)
