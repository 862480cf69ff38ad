"""Settings: API keys, the theme, and the versions that run here."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api.deps import RenderedDep, ServicesDep
from api.http.auth import ADMIN, READ, CallersDep
from api.http.callers import LOCAL_CALLER
from api.http.paging import PageDep, PageQuery
from api.routes import api_keys as key_routes
from api.services import Services
from api.web.forms import FormDep, errors, number, see_other
from api.web.pages import render
from shared.errors import NoAdministrator
from shared.schemas import ApiKeyCreate, ApiKeyUpdate, CreatedApiKey, Scope
from shared.store import activity

router = APIRouter(prefix="/settings", include_in_schema=False)

_KEYS_AN_OPEN_PAGE = 50
LIFETIMES = {"": "never", "86400": "after a day", "2592000": "after 30 days", "31536000": "after a year"}
"""The lifetimes of a new key that the form offers, by their seconds."""

_NUMBERS = ("weight", "max_running")

_LIBRARIES = {
    "Trainshed": "trainshed",
    "FastAPI": "fastapi",
    "SQLAlchemy": "sqlalchemy",
    "Celery": "celery",
    "ONNX Runtime": "onnxruntime",
}


@router.get("", dependencies=[READ])
def show_settings(request: Request, services: ServicesDep, query: PageDep) -> Response:
    """Show the theme, the versions and links to documentation; to an administrator, also the keys."""
    return _render(request, services, query)


@router.post("/keys", dependencies=[ADMIN])
def create_key(request: Request, services: ServicesDep, callers: CallersDep, form: FormDep) -> Response:
    """Create a key, and show it only this once."""
    answer = Response()
    try:
        new = ApiKeyCreate.model_validate(_fields(form))
        created = key_routes.create_api_key(services, callers, new, answer)
    except ValidationError as error:
        return _render(request, services, wrong=errors(error), form=form, status=422)
    except NoAdministrator as error:
        return _render(request, services, wrong={"scope": str(error)}, form=form, status=409)
    page = _render(request, services, created=created)
    page.headers["Cache-Control"] = answer.headers["Cache-Control"]  # so that no cache keeps the key
    return page


@router.post("/keys/{key_id:uuid}/change", dependencies=[ADMIN])
def change_key(
    request: Request,
    services: ServicesDep,
    callers: CallersDep,
    rendered: RenderedDep,
    key_id: UUID,
    form: FormDep,
) -> Response:
    """Change a key's weight, its limit of running jobs, and its rights."""
    try:
        numbers = {name: number(form.get(name, "")) for name in _NUMBERS}
        changes = ApiKeyUpdate.model_validate({**numbers, **_rights(form)})
    except ValidationError as error:
        return _render(request, services, wrong=errors(error), form=form, changed=key_id, status=422)
    key_routes.update_api_key(services, callers, rendered, key_id, changes)
    return see_other("/settings#keys")


@router.post("/keys/{key_id:uuid}/revoke", dependencies=[ADMIN])
def revoke_key(services: ServicesDep, callers: CallersDep, key_id: UUID) -> Response:
    """Revoke a key, at once and permanently."""
    key_routes.revoke_api_key(services, callers, key_id)
    return see_other("/settings#keys")


def _rights(form: Mapping[str, str]) -> dict[str, Any]:
    return {"team": form.get("team", "").strip() or None, "may_urgent": "may_urgent" in form}


def _fields(form: Mapping[str, str]) -> dict[str, Any]:
    return {
        **_rights(form),
        "name": form.get("name", "").strip(),
        "scope": form.get("scope", Scope.READ),
        "expires_in_s": number(form.get("expires_in_s", "")),
    }


def _render(
    request: Request,
    services: Services,
    query: PageQuery | None = None,
    *,
    created: CreatedApiKey | None = None,
    changed: UUID | None = None,
    wrong: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Return the page of settings.

    Args:
        created: a new key, which is shown only this once.
        changed: the key that `form` changes; None if `form` creates one.
        wrong: the errors of the form's fields.
    """
    is_admin = request.state.caller.scope.includes(Scope.ADMIN)
    query = query or PageQuery(_KEYS_AN_OPEN_PAGE, None)
    keys = key_routes.list_api_keys(services, query) if is_admin else None
    uses_postgresql = services.settings.database_url.startswith("postgresql")
    return render(
        request,
        "settings.html",
        status=status,
        now=services.database.read(activity.read_now),
        keys=keys,
        next_page=f"/settings?cursor={keys.next_cursor}#keys" if keys and keys.next_cursor else None,
        created=created,
        changed=changed,
        errors=wrong or {},
        form=form or {},
        scopes=list(Scope),
        lifetimes=LIFETIMES,
        versions={name: version(package) for name, package in _LIBRARIES.items()}
        | {"Python": platform.python_version()},
        database="PostgreSQL" if uses_postgresql else "SQLite",
        is_open=request.state.caller is LOCAL_CALLER,
    )
