"""Workers."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.deps import ServicesDep
from api.http.problems import documented
from shared import schemas
from shared.errors import WorkerNotFound, WorkerStopped
from shared.store import workers

router = APIRouter(prefix="/v1/workers", tags=["workers"])

WorkerId = Annotated[
    str,
    Path(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="The id that the list names."),
]


@router.get("", responses=documented())
def list_workers(services: ServicesDep) -> schemas.WorkerList:
    """The workers that have reported, last heard of first, with the jobs that they run."""
    return schemas.WorkerList(data=services.database.read(workers.every))


@router.post("/{worker_id}/drain", responses=documented(WorkerNotFound, WorkerStopped))
def drain_worker(services: ServicesDep, worker_id: WorkerId) -> schemas.Worker:
    """Let a worker finish the jobs that it runs, and take no others."""
    services.database.write(lambda session: workers.drain(session, worker_id))
    return _worker(services, worker_id)


@router.post("/{worker_id}/undrain", responses=documented(WorkerNotFound, WorkerStopped))
def undrain_worker(services: ServicesDep, worker_id: WorkerId) -> schemas.Worker:
    """Let a worker take jobs again; it does so within seconds."""
    services.database.write(lambda session: workers.undrain(session, worker_id))
    return _worker(services, worker_id)


def _worker(services: ServicesDep, worker_id: str) -> schemas.Worker:
    found = services.database.read(workers.every)
    return next(worker for worker in found if worker.id == worker_id)
