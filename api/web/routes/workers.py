"""The workers and the queues, and the page of one worker; draining, pausing and limiting as forms."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.deps import EndOfEventsDep, RenderedDep, ServicesDep
from api.http.auth import ADMIN, READ
from api.http.paging import PageDep, PageQuery
from api.routes import queues as queue_routes
from api.routes import workers as worker_routes
from api.routes.queues import QueueName
from api.routes.workers import WorkerId
from api.services import Services
from api.web.forms import FormDep, errors, number, own_path, see_other
from api.web.pages import Stream, render
from shared.errors import WorkerNotFound
from shared.lifecycle import JobState, WorkerState
from shared.schemas import Job, JobListQuery, QueueUpdate, Worker
from shared.store import activity, job_lists, queues, tenant_loads, workers
from shared.store.events import Cursor

router = APIRouter(prefix="/workers", include_in_schema=False)

_WORKERS_A_PAGE = 50
_MAX_TENANTS = 20
_MAX_RUNNING = 200  # jobs whose names are shown beside their workers

Back = Annotated[str, Query(description="The page that is shown after a form.")]


@router.get("", dependencies=[READ])
def list_workers(request: Request, services: ServicesDep, end: EndOfEventsDep, query: PageDep) -> Response:
    """Show the workers, last seen first, and the queues with their load."""
    return _show(request, services, end, query)


def _show(
    request: Request,
    services: Services,
    end: Cursor,
    query: PageQuery,
    *,
    limited: str = "",
    entered: str = "",
    wrong: Mapping[str, str] | None = None,
) -> Response:
    """Return the page of all workers and queues.

    Args:
        limited: the queue whose new limit was refused.
        entered: that limit, as it was entered.
        wrong: the errors of the form's fields.
    """
    page = worker_routes.list_workers(services, query)
    named = services.settings.queues
    rows = services.database.read(lambda session: queues.page(session, named))
    now = services.database.read(activity.read_now)
    return render(
        request,
        "workers.html",
        now=now,
        stream=Stream("/v1/stream", end),
        workers=[worker for worker in page.data if worker.state is not WorkerState.STOPPED],
        stopped=[worker for worker in page.data if worker.state is WorkerState.STOPPED],
        jobs=services.database.read(_running),
        queues=[(queue, queues.load(queue), _oldest(queue.oldest_waiting_s, now)) for _, queue in rows],
        tenants=[
            (queue, tenant, _oldest(tenant.longest_wait_s, now))
            for queue, tenant in services.database.read(partial(tenant_loads.loads, limit=_MAX_TENANTS))
        ],
        is_online=services.database.read(workers.count_by_state).get(WorkerState.ONLINE, 0) > 0,
        next_page=f"/workers?cursor={page.next_cursor}" if page.next_cursor else None,
        is_first=query.cursor is None,
        limited=limited,
        entered=entered,
        errors=wrong or {},
        status=422 if wrong else 200,
    )


@router.get("/{worker_id}", dependencies=[READ])
def show_worker(
    request: Request, services: ServicesDep, end: EndOfEventsDep, worker_id: WorkerId, query: PageDep
) -> Response:
    """Show a worker: its state, its running jobs and its attempts; after its deletion the attempts only."""

    def read(session: Session) -> tuple[Worker | None, dict[str, Job]]:
        with suppress(WorkerNotFound):
            return workers.get(session, worker_id), _running(session)
        return None, {}

    attempts = worker_routes.list_attempts(services, worker_id, query)
    worker, jobs = services.database.read(read)
    return render(
        request,
        "worker.html",
        now=services.database.read(activity.read_now),
        stream=Stream("/v1/stream", end),
        worker_id=worker_id,
        worker=worker,
        jobs=jobs,
        attempts=attempts,
        is_first=query.cursor is None,
    )


@router.post("/{worker_id}/drain", dependencies=[ADMIN])
def drain_worker(services: ServicesDep, worker_id: WorkerId, back: Back = "/workers") -> Response:
    """Let a worker finish its running jobs and take no more."""
    worker_routes.drain_worker(services, worker_id)
    return see_other(own_path(back))


@router.post("/{worker_id}/undrain", dependencies=[ADMIN])
def undrain_worker(services: ServicesDep, worker_id: WorkerId, back: Back = "/workers") -> Response:
    """Let a draining worker take jobs again."""
    worker_routes.undrain_worker(services, worker_id)
    return see_other(own_path(back))


@router.post("/queues/{name}/pause", dependencies=[ADMIN])
def pause_queue(services: ServicesDep, rendered: RenderedDep, name: QueueName) -> Response:
    """Pause a queue, so that no more of its jobs start."""
    queue_routes.pause_queue(services, rendered, name)
    return see_other("/workers#queues")


@router.post("/queues/{name}/resume", dependencies=[ADMIN])
def resume_queue(services: ServicesDep, rendered: RenderedDep, name: QueueName) -> Response:
    """Resume a paused queue, so that its jobs start again."""
    queue_routes.resume_queue(services, rendered, name)
    return see_other("/workers#queues")


@router.post("/queues/{name}/limit", dependencies=[ADMIN])
def limit_queue(
    request: Request,
    services: ServicesDep,
    rendered: RenderedDep,
    end: EndOfEventsDep,
    name: QueueName,
    form: FormDep,
) -> Response:
    """Limit the number of a queue's jobs that run at the same time; an empty field removes the limit."""
    entered = form.get("max_running", "")
    try:
        update = QueueUpdate.model_validate({"max_running": number(entered)})
    except ValidationError as error:
        query = PageQuery(_WORKERS_A_PAGE, None)
        return _show(request, services, end, query, limited=name, entered=entered, wrong=errors(error))
    queue_routes.update_queue(services, rendered, name, update)
    return see_other("/workers#queues")


def _running(session: Session) -> dict[str, Job]:
    """Return the running jobs by id, so that they are shown by name."""
    query = JobListQuery(state=(JobState.RUNNING,))
    return {str(job.id): job for _, job in job_lists.page(session, query, limit=_MAX_RUNNING)}


def _oldest(waiting_s: float | None, now: datetime) -> datetime | None:
    """Return the moment since which a job has waited for `waiting_s`, or None if no job waits."""
    return None if waiting_s is None else now - timedelta(seconds=waiting_s)
