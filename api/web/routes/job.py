"""The page of one job, and its actions as forms."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import QueryParams

from api.deps import ENDS_WAITS, EndOfEventsDep, JobId, ServicesDep
from api.http.auth import READ, SUBMIT, ActorDep, SubmitterDep
from api.http.paging import PageQuery
from api.jobs import batches, submission
from api.routes.job_edits import edit_job
from api.routes.logs import get_logs
from api.services import Services
from api.web.commands import of_request
from api.web.forms import FormDep, errors, see_other, texts
from api.web.pages import Stream, render
from api.web.tabs import evaluation, input_data, logs, model, timeline, training
from shared.lifecycle import TERMINAL, JobKind
from shared.schemas import Job, JobDetail, JobPatch, LogLevel, Priority
from shared.store import activity, dependencies, job_edits, job_queries, rights
from shared.store.events import Cursor
from shared.store.rights import Actor

router = APIRouter(prefix="/jobs/{job_id:id}", include_in_schema=False)

TABS = {
    "training": "Training",
    "evaluation": "Evaluation",
    "input": "Input data",
    "model": "Model",
    "timeline": "Timeline",
    "logs": "Logs",
    "config": "Config",
}
"""The tabs of the page, each with a template `job/{name}.html`."""

_FACTS: dict[str, Callable[[Services, JobDetail, QueryParams], dict[str, Any]]] = {
    "evaluation": evaluation.read,
    "input": input_data.read,
    "logs": logs.read,
    "model": model.read,
    "timeline": timeline.read,
    "training": training.read,
}
"""The function of each tab that returns the template's variables, for the job and the page's query."""


@router.get("", dependencies=[READ])
def show_job(
    request: Request,
    services: ServicesDep,
    end: EndOfEventsDep,
    job_id: JobId,
    tab: str = "",
    part: str = "",
) -> Response:
    """Show a job: its state, its actions and one of its tabs.

    Args:
        part: if not empty, leave out the content that a script of the tab updates itself, such as curves.
    """
    return _show(request, services, end, job_id, tab, part)


def _show(
    request: Request,
    services: Services,
    end: Cursor,
    job_id: UUID,
    tab: str = "",
    part: str = "",
    *,
    entered: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Response:
    """Return the page of a job.

    Args:
        entered: the changes of the job that were refused, by field.
        wrong: the errors of these fields.
    """

    read = partial(_read, job_id=job_id, actor=request.state.caller.actor)
    job, before, now, may_change = services.database.read(read)
    if tab not in TABS:
        tab = "training" if job.kind is JobKind.TRAIN else "evaluation"
    facts = _FACTS[tab](services, job, request.query_params) if tab in _FACTS else {}
    own = None if job.state in TERMINAL else Stream(f"/v1/jobs/{job_id}/stream", job.version)
    return render(
        request,
        "job.html",
        now=now,
        stream=Stream("/v1/stream", end) if training.follows_all(facts) else own,
        job=job,
        may_change=may_change,
        before=before,
        is_finished=job.state in TERMINAL,
        tabs=TABS,
        tab=tab,
        part=part,
        commands=of_request(request, submission.request_like(job)) if tab == "config" else None,
        editable=_editable(job) | dict(entered or {}),
        errors=wrong or {},
        priorities=list(Priority),
        status=422 if wrong else 200,
        **facts,
    )


def _read(session: Session, job_id: UUID, actor: Actor) -> tuple[JobDetail, list[Job], datetime, bool]:
    """Return a job, its predecessors, the time, and whether the visitor may change the job."""
    before = job_queries.summaries(session, dependencies.predecessors(session, job_id))
    job = job_queries.get(session, job_id)
    may_change = bool(rights.changeable(session, actor, [job.api_key_id]))
    return job, list(before.values()), activity.read_now(session), may_change


@router.get("/log.txt", dependencies=[READ])
def download_log(services: ServicesDep, job_id: JobId) -> object:
    """Download a job's log."""
    return get_logs(services, job_id, PageQuery(1, None), LogLevel.DEBUG, accept="text/plain")


@router.post("/edit", dependencies=[SUBMIT])
def change_job(
    request: Request,
    services: ServicesDep,
    actor: ActorDep,
    end: EndOfEventsDep,
    job_id: JobId,
    form: FormDep,
) -> Response:
    """Change a job's name and tags, and its queue and priority while it is queued; show the job."""
    old = _editable(services.database.read(lambda session: job_queries.get(session, job_id)))
    # a tag may contain a comma, so unchanged tags are not split
    changed = {name: text.strip() for name, text in form.items() if text.strip() != old.get(name)}
    values: dict[str, Any] = dict(changed)
    if "name" in changed:
        values["name"] = changed["name"] or None
    if "tags" in changed:
        values["tags"] = texts(changed["tags"])
    try:
        patch = JobPatch.model_validate({name: values[name] for name in old if name in values})
    except ValidationError as error:
        return _show(request, services, end, job_id, entered=changed, wrong=errors(error))
    edit_job(services, actor, job_id, patch, Response())
    return see_other(f"/jobs/{job_id}")


def _editable(job: JobDetail) -> dict[str, str]:
    """Return the fields of a job that a form may change, as text."""
    fields = {"name": job.name or "", "tags": ", ".join(job.tags)}
    return fields | {"queue": job.queue, "priority": job.priority.value}


@router.post("/cancel", dependencies=[SUBMIT, ENDS_WAITS])
def cancel_job(services: ServicesDep, actor: ActorDep, job_id: JobId) -> Response:
    """Cancel a job, and show it."""

    def cancel(session: Session) -> None:
        job_edits.request_cancel(session, job_id, actor=actor)

    services.database.write(cancel)
    return see_other(f"/jobs/{job_id}")


@router.post("/retry", dependencies=[SUBMIT])
def retry_job(services: ServicesDep, submitter: SubmitterDep, job_id: JobId, form: FormDep) -> Response:
    """Submit a finished job again, and show the new one."""
    key = form.get("idempotency_key") or None  # so that a second click submits nothing
    return see_other(f"/jobs/{submission.retry(services, submitter, job_id, key).job.id}")


@router.post("/delete", dependencies=[SUBMIT])
def delete_job(services: ServicesDep, actor: ActorDep, job_id: JobId) -> Response:
    """Delete a finished job, and show the list of jobs."""
    batches.delete(services, actor, job_id)
    return see_other("/jobs")
