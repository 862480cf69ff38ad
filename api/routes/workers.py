"""Workers: list, drain and undrain them; list their attempts."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path

from api.deps import ServicesDep
from api.http.auth import ADMIN, READ
from api.http.paging import Cursors, PageDep
from api.http.problems import documented
from shared.errors import InvalidCursor, WorkerNotFound, WorkerStopped
from shared.schemas import Page, Worker, WorkerAttempt
from shared.store import workers

router = APIRouter(prefix="/v1/workers", tags=["workers"])

_CURSORS = Cursors("workers", workers.WorkerKey)
_ATTEMPTS = Cursors("attempts", workers.AttemptKey)

WorkerId = Annotated[
    str,
    Path(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="The worker's id."),
]


@router.get("", dependencies=[READ], responses=documented(InvalidCursor))
def list_workers(services: ServicesDep, query: PageDep) -> Page[Worker]:
    """List the workers with the jobs that they are running, the latest heartbeat first."""
    return _CURSORS.read(services.database, query, workers.page)


@router.get("/{worker_id}/attempts", dependencies=[READ], responses=documented(InvalidCursor, WorkerNotFound))
def list_attempts(services: ServicesDep, worker_id: WorkerId, query: PageDep) -> Page[WorkerAttempt]:
    """List a worker's attempts to run jobs, the last started first; also after the worker's deletion."""
    return _ATTEMPTS.read(services.database, query, partial(workers.history, worker_id=worker_id))


@router.post("/{worker_id}/drain", dependencies=[ADMIN], responses=documented(WorkerNotFound, WorkerStopped))
def drain_worker(services: ServicesDep, worker_id: WorkerId) -> Worker:
    """Let a worker finish its running jobs and take no more. Idempotent."""
    services.database.write(lambda session: workers.drain(session, worker_id))
    return _worker(services, worker_id)


@router.post(
    "/{worker_id}/undrain", dependencies=[ADMIN], responses=documented(WorkerNotFound, WorkerStopped)
)
def undrain_worker(services: ServicesDep, worker_id: WorkerId) -> Worker:
    """Let a draining worker take jobs again, within seconds. Idempotent."""
    services.database.write(lambda session: workers.undrain(session, worker_id))
    return _worker(services, worker_id)


def _worker(services: ServicesDep, worker_id: str) -> Worker:
    return services.database.read(lambda session: workers.get(session, worker_id))
