"""Queues: list, pause, resume; and their load, for autoscalers."""

from functools import partial
from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Path

from api.deps import RenderedDep, ServicesDep
from api.http.auth import ADMIN, READ
from api.http.paging import Cursors, PageDep
from api.http.problems import documented
from api.services import Services
from shared.errors import InvalidCursor
from shared.schemas import QUEUE_PATTERN, Autoscaling, Page, Queue
from shared.store import dispatch, queues

router = APIRouter(prefix="/v1", tags=["queues"])

_CURSORS = Cursors("queues", queues.QueueKey)

_MAX_WOKEN = 100  # processes, when a queue is resumed: each runs all jobs that wait

QueueName = Annotated[str, Path(pattern=QUEUE_PATTERN, description="The queue's name, such as `default`.")]


@router.get("/queues", dependencies=[READ], responses=documented(InvalidCursor))
def list_queues(services: ServicesDep, query: PageDep) -> Page[Queue]:
    """List the queues by name: waiting jobs by priority, the age of the oldest, running jobs, workers."""
    return _CURSORS.read(services.database, query, partial(queues.page, named=services.settings.queues))


@router.get("/autoscaling", dependencies=[READ], responses=documented())
def get_autoscaling(services: ServicesDep) -> Autoscaling:
    """Get the load of each queue, and the number of workers that it needs."""
    rows = services.database.read(lambda session: queues.page(session, services.settings.queues))
    return Autoscaling(queues={queue.name: queues.load(queue) for _, queue in rows})


@router.post("/queues/{name}/pause", dependencies=[ADMIN], responses=documented())
def pause_queue(services: ServicesDep, rendered: RenderedDep, name: QueueName) -> Queue:
    """Start no more jobs of a queue. Running jobs continue, and jobs may still be submitted. Idempotent."""
    services.database.write(lambda session: queues.pause(session, name))
    from_thread.run_sync(rendered.forget_queued)
    return _queue(services, name)


@router.post("/queues/{name}/resume", dependencies=[ADMIN], responses=documented())
def resume_queue(services: ServicesDep, rendered: RenderedDep, name: QueueName) -> Queue:
    """Start jobs of a paused queue again, beginning with those that wait. Idempotent."""
    services.database.write(lambda session: queues.resume(session, name))
    due = partial(dispatch.due, queues=[name], limit=_MAX_WOKEN)
    dispatch.wake(services.broker, services.database.read(due))
    from_thread.run_sync(rendered.forget_queued)
    return _queue(services, name)


def _queue(services: Services, name: str) -> Queue:
    return services.database.read(lambda session: queues.get(session, name))
