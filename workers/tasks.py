"""The Celery task: a hint arrives, an attempt is run."""

from uuid import UUID

from celery import shared_task

from shared import broker, log
from workers import pool_process, runner

_log = log.get_logger(__name__)


@shared_task(name=broker.RUN_JOB, ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
def run_job(job_id: str) -> None:
    """Run one attempt at the job, if it is there to be claimed."""
    try:
        runner.run_attempt(pool_process.current(), UUID(job_id))
    except ValueError:
        _log.error("a message named no job", job_id=job_id)
