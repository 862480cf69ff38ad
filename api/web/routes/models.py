"""The list of models, and the page of one: layers, weights, lineage, evaluations, files, alias."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.deps import ModelId, ServicesDep
from api.http.auth import READ, SUBMIT, ActorDep, SubmittedByDep
from api.http.paging import PageDep
from api.routes import models as rest
from api.services import Services
from api.web.forms import FormDep, errors, see_other
from api.web.pages import list_address, render
from shared.errors import JobNotFound
from shared.schemas import Job, ModelDetail, ModelPatch, ModelReference
from shared.store import activity, job_queries, models, rights
from shared.store.rights import Actor

router = APIRouter(prefix="/models", include_in_schema=False)

_MAX_ANCESTORS = 10


@dataclass(frozen=True)
class _Facts:
    """The facts that a model's page shows.

    Attributes:
        lineage: the job that trained the model, the one that it was retried from, and so on.
        may_change: whether the visitor may change the model.
    """

    model: ModelDetail
    lineage: tuple[Job, ...]
    now: datetime
    may_change: bool


@router.get("", dependencies=[READ])
def list_models(
    request: Request, services: ServicesDep, query: PageDep, submitted_by: SubmittedByDep
) -> Response:
    """Show a page of the models, newest first."""
    page = rest.list_models(services, query, submitted_by)

    def read_jobs(session: Session) -> tuple[datetime, dict[UUID, Job]]:
        jobs = job_queries.summaries(session, [model.job_id for model in page.data])
        return activity.read_now(session), jobs

    now, jobs = services.database.read(read_jobs)
    return render(
        request,
        "models.html",
        now=now,
        page=page,
        jobs=jobs,
        submitted_by=request.query_params.get("submitted_by"),
        next_page=list_address(request, page.next_cursor) if page.next_cursor else None,
        first_page=list_address(request) if query.cursor else None,
    )


@router.get("/{model_id}", dependencies=[READ])
def show_model(request: Request, services: ServicesDep, model_id: ModelId) -> Response:
    """Show a model."""
    return _show(request, services, model_id)


@router.post("/{model_id}/edit", dependencies=[SUBMIT])
def edit_model(
    request: Request, services: ServicesDep, actor: ActorDep, model_id: ModelId, form: FormDep
) -> Response:
    """Set or remove a model's alias and description."""
    fields = {name: form[name].strip() or None for name in ("alias", "description") if name in form}
    try:
        changes = ModelPatch.model_validate(fields)
    except ValidationError as error:
        wrong = errors(error)
        return _show(request, services, model_id, status=422, entered=dict(form), wrong=wrong)
    return see_other(f"/models/{rest.patch_model(services, actor, model_id, changes).id}")


@router.post("/{model_id}/delete", dependencies=[SUBMIT])
def delete_model(services: ServicesDep, actor: ActorDep, model_id: ModelId) -> Response:
    """Delete a model, and show the list."""
    rest.delete_model(services, actor, model_id)
    return see_other("/models")


def _show(
    request: Request,
    services: Services,
    reference: ModelReference,
    *,
    status: int = 200,
    entered: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Response:
    facts = services.database.read(partial(_read, reference=reference, actor=request.state.caller.actor))
    model = facts.model
    return render(
        request,
        "model.html",
        status=status,
        now=facts.now,
        facts=facts,
        model=model,
        may_change=facts.may_change,
        tfjs=f"{request.base_url}v1/models/{model.id}/tfjs/model.json",
        entered={"alias": model.alias or "", "description": model.description or "", **(entered or {})},
        errors=wrong or {},
    )


def _read(session: Session, reference: ModelReference, actor: Actor) -> _Facts:
    model = models.detail(session, reference)
    may_change = bool(rights.changeable(session, actor, [model.api_key_id]))
    return _Facts(model, tuple(_lineage(session, model)), activity.read_now(session), may_change)


def _lineage(session: Session, model: ModelDetail) -> list[Job]:
    jobs: list[Job] = []
    ancestor = model.job_id
    while len(jobs) < _MAX_ANCESTORS:
        try:
            jobs.append(job_queries.summary(session, ancestor))
        except JobNotFound:  # deleted meanwhile
            break
        if (retried := jobs[-1].retry_of) is None:
            break
        ancestor = retried
    return jobs
