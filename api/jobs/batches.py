"""Batches: one action on many jobs, each in a transaction of its own."""

from hashlib import sha256
from http import HTTPStatus
from uuid import UUID

from sqlalchemy.orm import Session

from api.jobs import submission
from api.services import Services
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import BatchAction, BatchResult
from shared.store import job_edits, job_queries
from shared.store.submissions import Submitter


def apply(
    services: Services, submitter: Submitter, action: BatchAction, job_id: UUID, key: str | None
) -> BatchResult:
    """Apply a batch's action to one of its jobs.

    Args:
        key: the idempotency key of the batch, with which the job is not retried twice.

    Raises:
        RequestError: the action is refused.
    """
    match action:
        case BatchAction.CANCEL:
            state = services.database.write(lambda session: _cancel(session, job_id))
            return BatchResult(id=job_id, status=HTTPStatus.OK if state in TERMINAL else HTTPStatus.ACCEPTED)
        case BatchAction.RETRY:
            # a key for each job that cannot equal the key of another of the client's requests
            job_key = sha256(f"batch {key} {job_id}".encode()).hexdigest() if key is not None else None
            new = submission.retry(services, submitter, job_id, job_key).job
            return BatchResult(id=job_id, status=HTTPStatus.ACCEPTED, new_id=new.id)
        case BatchAction.DELETE:
            services.database.write(lambda session: job_edits.delete_job(session, job_id))
            return BatchResult(id=job_id, status=HTTPStatus.NO_CONTENT)


def _cancel(session: Session, job_id: UUID) -> JobState:
    job_edits.request_cancel(session, job_id)
    return job_queries.state(session, job_id)
