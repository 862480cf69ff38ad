"""One action for many jobs, each in a transaction of its own."""

from hashlib import sha256
from uuid import UUID

from api.http.problems import OF_ERROR
from api.jobs import submission
from api.services import Services
from shared.errors import RequestError
from shared.lifecycle import TERMINAL
from shared.schemas import BatchAction, BatchResult, BatchResults, JobBatch, Problem
from shared.store import job_edits, job_queries


def run(services: Services, batch: JobBatch, key: str | None) -> BatchResults:
    """Do the action to each job, and tell what became of it.

    Args:
        key: the client's idempotency key: the same one makes no second job for a retry.
    """
    return BatchResults(data=tuple(_try(services, batch.action, job_id, key) for job_id in batch.ids))


def _try(services: Services, action: BatchAction, job_id: UUID, key: str | None) -> BatchResult:
    try:
        match action:
            case BatchAction.CANCEL:
                return _cancel(services, job_id)
            case BatchAction.RETRY:
                return _retry(services, job_id, key)
            case BatchAction.DELETE:
                services.database.write(lambda session: job_edits.delete_job(session, job_id))
                return BatchResult(id=job_id, status=204)
    except RequestError as error:
        kind = OF_ERROR[type(error)]
        problem = Problem(
            type=kind.uri,
            title=kind.title,
            status=kind.status,
            detail=str(error),
            instance=f"/v1/jobs/{job_id}",
        )
        return BatchResult(id=job_id, status=kind.status, problem=problem)


def _cancel(services: Services, job_id: UUID) -> BatchResult:
    services.database.write(lambda session: job_edits.request_cancel(session, job_id))
    job = services.database.read(lambda session: job_queries.get(session, job_id))
    return BatchResult(id=job_id, status=200 if job.state in TERMINAL else 202)


def _retry(services: Services, job_id: UUID, key: str | None) -> BatchResult:
    # one key for each job, and not a key that a client could have taken for another request
    own_key = sha256(f"batch {key} {job_id}".encode()).hexdigest() if key is not None else None
    return BatchResult(id=job_id, status=202, new_id=submission.retry(services, job_id, own_key).job.id)
