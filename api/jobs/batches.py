"""Batches: one action on many jobs, each in a transaction of its own."""

from hashlib import sha256
from http import HTTPStatus
from uuid import UUID

from sqlalchemy.orm import Session

from api.jobs import submission
from api.services import Services
from shared import log
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import BatchAction, BatchResult
from shared.store import job_edits, job_queries
from shared.store.rights import Actor
from shared.store.submissions import Submitter

_log = log.get_logger(__name__)


def apply(
    services: Services,
    submitter: Submitter,
    actor: Actor,
    action: BatchAction,
    job_id: UUID,
    key: str | None,
) -> BatchResult:
    """Apply a batch's action to one of its jobs.

    Args:
        key: the idempotency key of the batch; a repeated batch does not retry the job again.

    Raises:
        RequestError: the action is refused.
    """
    match action:
        case BatchAction.CANCEL:
            state = services.database.write(lambda session: _cancel(session, job_id, actor))
            return BatchResult(id=job_id, status=HTTPStatus.OK if state in TERMINAL else HTTPStatus.ACCEPTED)
        case BatchAction.RETRY:
            # a key for each job that cannot equal the key of another of the client's requests
            job_key = sha256(f"batch {key} {job_id}".encode()).hexdigest() if key is not None else None
            new = submission.retry(services, submitter, job_id, job_key).job
            return BatchResult(id=job_id, status=HTTPStatus.ACCEPTED, new_id=new.id)
        case BatchAction.DELETE:
            delete(services, actor, job_id)
            return BatchResult(id=job_id, status=HTTPStatus.NO_CONTENT)


def delete(services: Services, actor: Actor, job_id: UUID) -> None:
    """Delete a finished job with its events, and log the actor, whom no event can name any more.

    Raises:
        RequestError: the deletion is refused.
    """
    services.database.write(lambda session: job_edits.delete_job(session, job_id, actor=actor))
    _log.info("deleted a job", job_id=str(job_id), **actor.by)


def _cancel(session: Session, job_id: UUID, actor: Actor) -> JobState:
    job_edits.request_cancel(session, job_id, actor=actor)
    return job_queries.state(session, job_id)
