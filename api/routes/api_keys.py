"""API keys: make, list, revoke; and who the API takes a client for."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Response
from sqlalchemy.orm import Session

from api.deps import ServicesDep
from api.http.auth import CallerDep
from api.http.problems import MALFORMED_JSON, NOT_JSON, TOO_LARGE, documented
from shared import schemas
from shared.db import tables
from shared.errors import ApiKeyNotFound, NoAdministrator
from shared.store import api_keys

router = APIRouter(prefix="/v1", tags=["access"])

_EXAMPLES = {
    "read": {"summary": "For a dashboard, for ever", "value": {"name": "the wall display"}},
    "submit": {
        "summary": "For a person, for 90 days",
        "value": {"name": "Ada", "scope": "submit", "expires_in_s": 7_776_000},
    },
    "admin": {"summary": "For who runs this API", "value": {"name": "Grace", "scope": "admin"}},
}


@router.post(
    "/api-keys", status_code=201, responses=documented(MALFORMED_JSON, NoAdministrator, TOO_LARGE, NOT_JSON)
)
def create_api_key(
    services: ServicesDep,
    request: Annotated[schemas.ApiKeyCreate, Body(openapi_examples=_EXAMPLES)],
    response: Response,
) -> schemas.CreatedApiKey:
    """Make an API key. Its text is in this answer only. Once there is a key, every request needs one."""
    drawn, bootstrap = api_keys.NewApiKey.draw(), services.settings.api_keys

    def create(session: Session) -> schemas.ApiKey:
        if not (request.scope is schemas.Scope.ADMIN or bootstrap or api_keys.any_exists(session)):
            raise NoAdministrator("the first key needs the scope `admin`, or nobody could make another")
        return _describe(
            api_keys.create(
                session, drawn, name=request.name, scope=request.scope, lifetime_s=request.expires_in_s
            )
        )

    stored = services.database.write(create)
    response.headers.update({"Location": f"/v1/api-keys/{drawn.id}", "Cache-Control": "no-store"})
    return schemas.CreatedApiKey(**stored.model_dump(), key=str(drawn))


@router.get("/api-keys", responses=documented())
def list_api_keys(services: ServicesDep) -> schemas.ApiKeyList:
    """The API keys, newest first, without their secrets."""
    found = services.database.read(api_keys.every)
    return schemas.ApiKeyList(data=tuple(map(_describe, found)))


@router.delete("/api-keys/{key_id}", status_code=204, responses=documented(ApiKeyNotFound))
def revoke_api_key(services: ServicesDep, key_id: Annotated[UUID, Path(description="The key's id.")]) -> None:
    """End an API key, at once and for good. Asking twice is asking once."""
    services.database.write(lambda session: api_keys.revoke(session, key_id))


@router.get("/me", responses=documented())
def get_me(caller: CallerDep) -> schemas.Me:
    """Who the API takes you for, and what you may do."""
    return schemas.Me.model_validate(caller)


def _describe(row: tables.ApiKey) -> schemas.ApiKey:
    return schemas.ApiKey(
        id=row.id,
        name=row.name,
        scope=schemas.Scope(row.scopes[0]),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
