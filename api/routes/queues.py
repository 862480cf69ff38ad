"""Queues: list, pause, resume and limit them; get their load, for autoscalers."""

from functools import partial
from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Body, Path

from api.deps import RenderedDep, ServicesDep
from api.http.auth import ADMIN, READ
from api.http.paging import Cursors, PageDep
from api.http.problems import BODY, documented
from api.jobs.rendered import RenderedResponses
from api.services import Services
from shared.errors import InvalidCursor
from shared.schemas import QUEUE_PATTERN, Autoscaling, Page, Queue, QueueTenants, QueueUpdate
from shared.store import dispatch, limits, queues, tenant_loads

router = APIRouter(prefix="/v1", tags=["queues"])

_CURSORS = Cursors("queues", queues.QueueKey)

MAX_TENANTS = 100
"""The maximum number of a queue's tenants that are listed."""

QueueName = Annotated[str, Path(pattern=QUEUE_PATTERN, description="The queue's name, such as `default`.")]


_LIMITS = {
    "four": {"summary": "No more than four jobs at the same time", "value": {"max_running": 4}},
}


@router.get("/queues", dependencies=[READ], responses=documented(InvalidCursor))
def list_queues(services: ServicesDep, query: PageDep) -> Page[Queue]:
    """List the queues by name, with waiting jobs by priority, the oldest one's age, running jobs, workers."""
    return _CURSORS.read(services.database, query, partial(queues.page, named=services.settings.queues))


@router.get("/queues/{name}/tenants", dependencies=[READ], responses=documented())
def list_tenants(services: ServicesDep, name: QueueName) -> QueueTenants:
    """List up to 100 tenants of a queue, those with the most waiting jobs first.

    Each sweep is a tenant. All other jobs of a team, of an API key without a team, or of an address without a
    key form one tenant. Tenants take turns.
    """
    read = partial(tenant_loads.loads, queue=name, limit=MAX_TENANTS)
    return QueueTenants(data=tuple(load for _, load in services.database.read(read)))


@router.get("/autoscaling", dependencies=[READ], responses=documented())
def get_autoscaling(services: ServicesDep) -> Autoscaling:
    """Get the load of each queue, and the number of workers that the queue needs."""
    rows = services.database.read(lambda session: queues.page(session, services.settings.queues))
    return Autoscaling(queues={queue.name: queues.load(queue) for _, queue in rows})


@router.post("/queues/{name}/pause", dependencies=[ADMIN], responses=documented())
def pause_queue(services: ServicesDep, rendered: RenderedDep, name: QueueName) -> Queue:
    """Pause a queue: its jobs no longer start. Running jobs continue; jobs can be submitted. Idempotent."""
    services.database.write(lambda session: queues.pause(session, name))
    from_thread.run_sync(rendered.forget_queued)
    return _queue(services, name)


@router.post("/queues/{name}/resume", dependencies=[ADMIN], responses=documented())
def resume_queue(services: ServicesDep, rendered: RenderedDep, name: QueueName) -> Queue:
    """Resume a paused queue: its jobs start again, beginning with the waiting ones. Idempotent."""
    services.database.write(lambda session: queues.resume(session, name))
    return _woken(services, rendered, name)


@router.patch("/queues/{name}", dependencies=[ADMIN], responses=documented(*BODY))
def update_queue(
    services: ServicesDep,
    rendered: RenderedDep,
    name: QueueName,
    request: Annotated[QueueUpdate, Body(openapi_examples=_LIMITS)],
) -> Queue:
    """Limit the number of a queue's jobs that run at the same time. Running jobs continue. Idempotent."""
    services.database.write(partial(limits.limit_queue, queue=name, max_running=request.max_running))
    return _woken(services, rendered, name)


def _woken(services: Services, rendered: RenderedResponses, name: str) -> Queue:
    """Wake the workers for jobs of a queue that can start now, and return the queue."""
    due = partial(dispatch.due, queues=[name], limit=dispatch.MAX_WOKEN)
    dispatch.wake(services.broker, services.database.read(due))
    from_thread.run_sync(rendered.forget_queued)
    return _queue(services, name)


def _queue(services: Services, name: str) -> Queue:
    return services.database.read(lambda session: queues.get(session, name))
