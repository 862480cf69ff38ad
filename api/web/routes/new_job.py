"""The form for a new job, with the commands that do the same."""

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.deps import ServicesDep
from api.http.auth import SUBMIT, SubmitterDep
from api.jobs import submission
from api.services import Services
from api.web import commands, fields
from api.web.fields import Field
from api.web.forms import FormDep, see_other
from api.web.pages import render
from shared.datasets import catalog
from shared.errors import (
    AmbiguousId,
    DatasetNotFound,
    InvalidSpec,
    JobNotFound,
    ModelNotFound,
    PredecessorFailed,
    TooManyWait,
)
from shared.lifecycle import JobKind
from shared.schemas import JobCreate
from shared.schemas.ids import parse_id
from shared.store import job_queries, models, queues, references

router = APIRouter(prefix="/jobs/new", include_in_schema=False, dependencies=[SUBMIT])

_SUGGESTED_MODELS = 50
_SMOKE_TEST = {
    "name": "smoke test",
    "epochs": 1,
    "train_size": 500,
    "validation_size": 100,
    "evaluation_size": 100,
}


@router.get("")
def show_form(request: Request, services: ServicesDep) -> Response:
    """Show the form, filled with the fields in the address, or with those of the job that `from` names."""
    values = dict(request.query_params)
    kind = _kind(values)
    if source := parse_id(values.pop("from", "")):
        job = services.database.read(
            lambda session: job_queries.summary(session, references.find_job(session, source))
        )
        kind = job.kind
        values = {**fields.unparse(fields.of_kind(kind), submission.request_like(job)), **values}
    return _page(request, services, kind, values)


@router.post("")
async def submit_form(
    request: Request, services: ServicesDep, submitter: SubmitterDep, form: FormDep
) -> Response:
    """Submit the job that the form describes and show it, or show the errors beside the fields."""
    kind = _kind(form)
    try:
        job = fields.parse(kind, fields.of_kind(kind), form)
        submitted = await submission.submit(services, submitter, job, _key(form, job))
    except (ValidationError, InvalidSpec, AmbiguousId):
        return await run_in_threadpool(_page, request, services, kind, form, is_submitted=True)
    except (JobNotFound, ModelNotFound, PredecessorFailed, TooManyWait) as error:
        refused = {"model_id" if isinstance(error, ModelNotFound) else "after": str(error)}
        return await run_in_threadpool(
            _page, request, services, kind, form, is_submitted=True, refused=refused
        )
    return see_other(f"/jobs/{submitted.job.id}")


def _page(
    request: Request,
    services: Services,
    kind: JobKind,
    values: Mapping[str, str],
    *,
    is_submitted: bool = False,
    refused: Mapping[str, str] | None = None,
) -> Response:
    """Return the page of the form.

    Args:
        is_submitted: whether the form was submitted, and refused.
        refused: errors that only a submission detects, by field.
    """
    form = _fields(services, kind, values.get("dataset", ""))
    job, new = None, None
    wrong: dict[str, str] = {}
    try:
        job = fields.parse(kind, form, values)
        new = submission.complete(services, job)
    except ValidationError as error:
        wrong = fields.errors(form, error, missing=is_submitted)
    except InvalidSpec as error:
        wrong = {error.field: str(error)}
    except ModelNotFound as error:
        wrong = {"model_id": str(error)}
    except JobNotFound as error:  # a job in `after`, which may have to train the model
        wrong = {"after": str(error)}
    except AmbiguousId as error:
        wrong = {"": str(error)}
    wrong |= refused or {}
    return render(
        request,
        "new_job.html",
        status=422 if is_submitted else 200,
        kind=kind,
        fields=form,
        values=values,
        errors={name: _sentence(name, text) for name, text in wrong.items()},
        commands=commands.of_request(request, job) if job else None,
        new=new,
        presets=_presets(services),
    )


def _presets(services: Services) -> dict[str, str]:
    """Return the addresses of the form with frequent starting values, by name."""
    train = catalog.describe("mnist", services.settings).train_rows
    return {
        "The codelab's": "/jobs/new",
        f"All {train:,} images": f"/jobs/new?train_size={train}",
        "Smoke test": f"/jobs/new?{urlencode(_SMOKE_TEST)}",
    }


def _fields(services: Services, kind: JobKind, dataset: str) -> tuple[Field, ...]:
    names, aliases = services.database.read(partial(_known, services=services))
    form = fields.with_choices(
        fields.of_kind(kind),
        choices={"dataset": catalog.dataset_names(services.settings)},
        suggestions={"queue": names, "model_id": aliases},
    )
    if kind is JobKind.EVALUATE:
        return form  # an evaluation uses the dataset of its model
    default = next(field.default for field in form if field.name == "dataset")
    try:
        info = catalog.describe(dataset or default, services.settings)
    except DatasetNotFound:
        return form
    sizes = {
        "train_size": (info.train_rows, info.default_train_size),
        "validation_size": (info.test_rows, info.default_validation_size),
        "evaluation_size": (info.test_rows, info.default_evaluation_size),
    }
    return fields.with_sizes(form, sizes)


def _known(session: Session, services: Services) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of queues, and references to models: aliases first."""
    named = tuple(queue.name for _, queue in queues.page(session, named=services.settings.queues))
    newest = [model for _, model in models.page(session, limit=_SUGGESTED_MODELS)]
    aliases = sorted(model.alias for model in newest if model.alias)
    return named, (*aliases, *(str(model.id) for model in newest))


def _sentence(name: str, text: str) -> str:
    text = text.replace(name, name.replace("_", " ")) if name else text
    return text[:1].upper() + text[1:]


def _kind(values: Mapping[str, str]) -> JobKind:
    return JobKind.EVALUATE if values.get("kind") == JobKind.EVALUATE else JobKind.TRAIN


def _key(form: Mapping[str, str], job: JobCreate) -> str | None:
    """Return an idempotency key, so that a second click submits nothing, and a changed form another job."""
    key = form.get("idempotency_key")
    return sha256(f"{key} {job.model_dump_json()}".encode()).hexdigest() if key else None
