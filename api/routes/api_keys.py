"""API keys: create, list, change and revoke them; get the caller's own."""

from functools import partial
from typing import Annotated
from uuid import UUID

from anyio import from_thread
from fastapi import APIRouter, Body, Response
from sqlalchemy.orm import Session

from api.deps import RenderedDep, ServicesDep, id_in_path
from api.http.auth import ADMIN, READ, CallerDep, CallersDep
from api.http.paging import Cursors, PageDep
from api.http.problems import BODY, documented
from shared import schemas
from shared.errors import ApiKeyNotFound, InvalidCursor, NoAdministrator
from shared.store import api_keys, dispatch, queues, references
from shared.store.keyset import CreationKey

router = APIRouter(prefix="/v1", tags=["access"])

_CURSORS = Cursors("API keys", CreationKey)

KeyId = Annotated[UUID, id_in_path("key_id", "key", references.find_key)]

_EXAMPLES = {
    "read": {"summary": "For a dashboard, without expiry", "value": {"name": "wall display"}},
    "submit": {
        "summary": "For a person, for 90 days",
        "value": {"name": "Ada", "scope": "submit", "expires_in_s": 7_776_000, "team": "vision"},
    },
    "admin": {"summary": "For an administrator", "value": {"name": "Grace", "scope": "admin"}},
}

_CHANGES = {
    "weight": {"summary": "Three of its jobs for one of another key", "value": {"weight": 3}},
    "urgent": {"summary": "It may submit urgent jobs", "value": {"may_urgent": True}},
    "limit": {"summary": "No more than two jobs at the same time", "value": {"max_running": 2}},
}


@router.post("/api-keys", dependencies=[ADMIN], status_code=201, responses=documented(*BODY, NoAdministrator))
def create_api_key(
    services: ServicesDep,
    callers: CallersDep,
    request: Annotated[schemas.ApiKeyCreate, Body(openapi_examples=_EXAMPLES)],
    response: Response,
) -> schemas.CreatedApiKey:
    """Create an API key. Only this response contains its text. Once a key exists, every request needs one."""
    key, bootstrap_keys = api_keys.NewApiKey.draw(), services.settings.api_keys

    def create(session: Session) -> schemas.ApiKey:
        if not (request.scope is schemas.Scope.ADMIN or bootstrap_keys or api_keys.any_exists(session)):
            raise NoAdministrator("the first key needs the scope `admin`, or nobody could create another")
        row = api_keys.create(
            session,
            key,
            name=request.name,
            scope=request.scope,
            lifetime_s=request.expires_in_s,
            weight=request.weight,
            max_running=request.max_running,
            team=request.team,
            may_urgent=request.may_urgent,
        )
        return schemas.ApiKey.model_validate(row)

    stored = services.database.write(create)
    from_thread.run_sync(callers.forget)
    response.headers.update({"Location": f"/v1/api-keys/{key.id}", "Cache-Control": "no-store"})
    return schemas.CreatedApiKey(**stored.model_dump(), key=str(key))


@router.get("/api-keys", dependencies=[ADMIN], responses=documented(InvalidCursor))
def list_api_keys(services: ServicesDep, query: PageDep) -> schemas.Page[schemas.ApiKey]:
    """List the API keys without their secrets, newest first, revoked and expired ones included."""
    return _CURSORS.read(services.database, query, api_keys.page)


@router.patch("/api-keys/{key_id}", dependencies=[ADMIN], responses=documented(*BODY, ApiKeyNotFound))
def update_api_key(
    services: ServicesDep,
    callers: CallersDep,
    rendered: RenderedDep,
    key_id: KeyId,
    request: Annotated[schemas.ApiKeyUpdate, Body(openapi_examples=_CHANGES)],
) -> schemas.ApiKey:
    """Change a key's weight, its limit of running jobs, its team, or its right to submit urgent jobs.

    A new weight applies to jobs that are submitted later. Jobs that are running continue, even above a new
    limit. A revoked key can get another team, so that the team's keys may change its jobs. Idempotent.
    """
    changed = services.database.write(partial(api_keys.change, key_id=key_id, changes=request))
    from_thread.run_sync(callers.forget)
    dispatch.wake(services.broker, services.database.read(_due))
    from_thread.run_sync(rendered.forget_queued)
    return changed


def _due(session: Session) -> dict[str, int]:
    return dispatch.due(session, sorted(queues.served(session)), limit=dispatch.MAX_WOKEN)


@router.delete(
    "/api-keys/{key_id}", dependencies=[ADMIN], status_code=204, responses=documented(ApiKeyNotFound)
)
def revoke_api_key(
    services: ServicesDep,
    callers: CallersDep,
    key_id: KeyId,
) -> None:
    """Revoke an API key, at once and permanently. Idempotent."""
    services.database.write(lambda session: api_keys.revoke(session, key_id))
    from_thread.run_sync(callers.forget)


@router.get("/me", dependencies=[READ], responses=documented())
async def get_me(caller: CallerDep) -> schemas.Me:
    """Get the identity and the scope of the request's API key."""
    return schemas.Me.model_validate(caller)
