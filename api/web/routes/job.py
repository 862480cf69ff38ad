"""The page of one job, and its actions as forms."""

from collections.abc import Mapping
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from api.deps import JobId, ServicesDep
from api.http.auth import READ, SUBMIT
from api.jobs import submission
from api.web import job_model
from api.web.forms import FormDep, see_other
from api.web.pages import Stream, render
from shared.lifecycle import TERMINAL
from shared.schemas import JobClone
from shared.store import activity, job_edits, job_queries

router = APIRouter(prefix="/jobs/{job_id:uuid}", include_in_schema=False)

TABS = {
    "training": "Training",
    "evaluation": "Evaluation",
    "input": "Input data",
    "model": "Model",
    "timeline": "Timeline",
    "logs": "Logs",
    "config": "Config",
}
"""The tabs of the page, each with a template `job/{name}.html`; the first is shown at first."""


@router.get("", dependencies=[READ])
def show_job(request: Request, services: ServicesDep, job_id: JobId, tab: str = "training") -> Response:
    """Show a job: its state, its actions and one of its tabs."""
    job, now = services.database.read(
        lambda session: (job_queries.get(session, job_id), activity.read_now(session))
    )
    return render(
        request,
        "job.html",
        now=now,
        stream=None if job.state in TERMINAL else Stream(f"/v1/jobs/{job_id}/stream", job.version),
        job=job,
        is_finished=job.state in TERMINAL,
        tabs=TABS,
        tab=tab if tab in TABS else next(iter(TABS)),
        **(job_model.context(services, job) if tab == "model" else {}),
    )


@router.post("/cancel", dependencies=[SUBMIT])
def cancel_job(services: ServicesDep, job_id: JobId) -> Response:
    """Cancel a job, and show it."""

    def cancel(session: Session) -> None:
        job_edits.request_cancel(session, job_id)

    services.database.write(cancel)
    return see_other(f"/jobs/{job_id}")


@router.post("/retry", dependencies=[SUBMIT])
def retry_job(services: ServicesDep, job_id: JobId, form: FormDep) -> Response:
    """Submit a finished job again, and show the new one."""
    return _show(submission.retry(services, job_id, _key(form)))


@router.post("/clone", dependencies=[SUBMIT])
def clone_job(services: ServicesDep, job_id: JobId, form: FormDep) -> Response:
    """Submit a job like an existing one, whatever its state, and show the new one."""
    return _show(submission.clone(services, job_id, JobClone(), _key(form)))


@router.post("/delete", dependencies=[SUBMIT])
def delete_job(services: ServicesDep, job_id: JobId) -> Response:
    """Delete a finished job, and show the list of jobs."""

    def delete(session: Session) -> None:
        job_edits.delete_job(session, job_id)

    services.database.write(delete)
    return see_other("/jobs")


def _key(form: Mapping[str, str]) -> str | None:
    """Return the form's idempotency key, so that a second click submits nothing."""
    return form.get("idempotency_key") or None


def _show(submitted: submission.Submission) -> Response:
    job_id: UUID = submitted.job.id
    return see_other(f"/jobs/{job_id}")
