"""Queues: what waits in them, pausing them, and what an autoscaler reads."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.deps import ServicesDep
from api.http.problems import documented
from api.services import Services
from shared import log
from shared.schemas import QUEUE_PATTERN, Autoscaling, Queue, QueueList
from shared.store import dispatch, queues

router = APIRouter(prefix="/v1", tags=["queues"])

QueueName = Annotated[str, Path(pattern=QUEUE_PATTERN, description="The queue's name, such as `default`.")]

_log = log.get_logger(__name__)


@router.get("/queues", responses=documented())
def list_queues(services: ServicesDep) -> QueueList:
    """The queues: how many jobs wait by priority, how long the oldest has, and who serves them."""
    return QueueList(data=_queues(services))


@router.get("/autoscaling", responses=documented())
def get_autoscaling(services: ServicesDep) -> Autoscaling:
    """The load of each queue, and how many workers it wants."""
    return Autoscaling(queues={queue.name: queues.load(queue) for queue in _queues(services)})


@router.post("/queues/{name}/pause", responses=documented())
def pause_queue(services: ServicesDep, name: QueueName) -> Queue:
    """Let no job of the queue be started; those that run go on. Jobs may still be submitted."""
    services.database.write(lambda session: queues.pause(session, name))
    return _queue(services, name)


@router.post("/queues/{name}/resume", responses=documented())
def resume_queue(services: ServicesDep, name: QueueName) -> Queue:
    """Let the queue's jobs be started again, and send at once those that wait."""
    services.database.write(lambda session: queues.resume(session, name))
    hints = services.database.write(
        lambda session: dispatch.take_undispatched(session, [name], lost_after_s=None)
    )
    unsent = dispatch.send(services.database, services.broker, hints)
    if unsent is not None:
        _log.warning("jobs wait for the broker to answer again", queue=name, reason=str(unsent))
    return _queue(services, name)


def _queue(services: Services, name: str) -> Queue:
    found = services.database.read(lambda session: queues.every(session, {name}))
    return next(queue for queue in found if queue.name == name)


def _queues(services: Services) -> tuple[Queue, ...]:
    return services.database.read(lambda session: queues.every(session, services.settings.queues))
