"""Who may do what: the scope that each operation needs, and whether the request's key has it.

Where no key is configured, programs on this host may do all, and nobody else anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.deps import ServicesDep
from api.http.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHENTICATED, ProblemType
from api.http.rate_limit import RateLimiter
from api.services import Services
from shared.errors import TrainshedError
from shared.schemas import Scope
from shared.settings import is_loopback
from shared.store import api_keys

# Every operation of the API; one that is missing here is an administrator's, and a test fails.
_OPERATIONS: Mapping[Scope | None, frozenset[str]] = {
    None: frozenset(
        {
            "GET /",
            "GET /docs",
            "GET /docs/style.css",
            "GET /livez",
            "GET /readyz",
            "GET /version",
            "GET /problems/{slug}",
        }
    ),
    Scope.READ: frozenset(
        {
            "GET /metrics",
            "GET /v1/datasets/{name}/samples",
            "GET /v1/autoscaling",
            "GET /v1/jobs",
            "GET /v1/jobs/counts",
            "GET /v1/jobs/{job_id}",
            "GET /v1/jobs/{job_id}/evaluation",
            "GET /v1/jobs/{job_id}/events",
            "GET /v1/jobs/{job_id}/logs",
            "GET /v1/jobs/{job_id}/metrics",
            "GET /v1/jobs/{job_id}/misclassified",
            "GET /v1/jobs/{job_id}/stream",
            "GET /v1/me",
            "GET /v1/metrics",
            "GET /v1/sweeps",
            "GET /v1/sweeps/{sweep_id}",
            "GET /v1/compare",
            "GET /v1/models",
            "GET /v1/models/{model_id}",
            "GET /v1/models/{model_id}/download",
            "GET /v1/queues",
            "GET /v1/stream",
            "GET /v1/workers",
        }
    ),
    Scope.SUBMIT: frozenset(
        {
            "POST /v1/jobs",
            "POST /v1/jobs/batch",
            "PATCH /v1/jobs/{job_id}",
            "DELETE /v1/jobs/{job_id}",
            "POST /v1/jobs/{job_id}/clone",
            "POST /v1/jobs/{job_id}/cancel",
            "POST /v1/jobs/{job_id}/retry",
            "POST /v1/models/{model_id}/predict",
            "POST /v1/sweeps",
            "POST /v1/sweeps/{sweep_id}/cancel",
            "PATCH /v1/models/{model_id}",
            "DELETE /v1/models/{model_id}",
        }
    ),
    Scope.ADMIN: frozenset(
        {
            "DELETE /v1/api-keys/{key_id}",
            "GET /v1/api-keys",
            "POST /v1/api-keys",
            "POST /v1/queues/{name}/pause",
            "POST /v1/queues/{name}/resume",
            "POST /v1/workers/{worker_id}/drain",
            "POST /v1/workers/{worker_id}/undrain",
        }
    ),
}
SCOPES: Mapping[str, Scope | None] = {
    operation: scope for scope, operations in _OPERATIONS.items() for operation in operations
}

_CHALLENGE = 'Bearer realm="trainshed"'
_SECURITY_SCHEME = "apiKey"


class Refusal(TrainshedError):
    """A request is refused for who made it, or how often.

    Attributes:
        kind: of problem.
        headers: of the answer.
    """

    def __init__(self, kind: ProblemType, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = headers


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: what people call the key.
        scope: what it may do.
        key_id: None for a key of `API_KEYS`, and where none is needed.
        expires_at: when the key ends.
    """

    name: str
    scope: Scope
    key_id: UUID | None = None
    expires_at: datetime | None = None


_ANYONE_HERE = Caller("anyone on this host", Scope.ADMIN)
_BOOTSTRAP = "a key of API_KEYS"


def authorize(request: Request, services: ServicesDep) -> None:
    """Let a request pass whose key has the scope that its operation needs; for every operation of the app.

    Raises:
        Refusal: it must not pass.
    """
    needed = SCOPES.get(f"{request.method} {_path(request)}", Scope.ADMIN)
    if needed is None:
        return
    limiter: RateLimiter = request.app.state.rate_limiter
    caller = _authenticate(request, services)
    if caller != _ANYONE_HERE:
        _limit(limiter, str(caller.key_id) if caller and caller.key_id else _address(request))
    if caller is None:
        raise _unauthenticated(request)
    if not caller.scope.includes(needed):
        raise _forbidden(caller, needed)
    request.state.caller = caller


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]


def _path(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path_format", request.url.path))


def _address(request: Request) -> str:
    return request.client.host if request.client else "a socket"


def _shown_key(request: Request) -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _authenticate(request: Request, services: Services) -> Caller | None:
    shown, bootstrap = _shown_key(request), services.settings.api_keys
    # all are compared, so that the time tells nothing
    if shown and sum(api_keys.same_secret(shown, key.get_secret_value()) for key in bootstrap):
        return Caller(_BOOTSTRAP, Scope.ADMIN)
    key = api_keys.parse(shown)
    if bootstrap and key is None:
        return None
    needed = bool(bootstrap) or not _is_local(request)
    return services.database.read(lambda session: _find(session, key, needed=needed))


def _find(session: Session, key: api_keys.NewApiKey | None, *, needed: bool) -> Caller | None:
    stored = api_keys.find(session, key) if key else None
    if stored is not None:
        return Caller(stored.name, Scope(stored.scopes[0]), stored.id, stored.expires_at)
    return None if needed or api_keys.any_exists(session) else _ANYONE_HERE


def _is_local(request: Request) -> bool:
    return request.client is None or is_loopback(request.client.host)


def _limit(limiter: RateLimiter, holder: str) -> None:
    wait_s = ceil(limiter.take(holder))
    if wait_s:
        detail = f"{holder} makes more than {limiter.per_second:g} requests a second: wait {wait_s} s"
        raise Refusal(TOO_MANY_REQUESTS, detail, {"Retry-After": str(wait_s)})


def _unauthenticated(request: Request) -> Refusal:
    if _shown_key(request):
        detail = "the API key is unknown, revoked or expired: show another one"
        return Refusal(UNAUTHENTICATED, detail, {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'})
    detail = "this API asks for a key: send the header `Authorization: Bearer KEY`"
    return Refusal(UNAUTHENTICATED, detail, {"WWW-Authenticate": _CHALLENGE})


def _forbidden(caller: Caller, needed: Scope) -> Refusal:
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'
    detail = f"the key {caller.name!r} may {caller.scope}; this needs a key that may {needed}"
    return Refusal(FORBIDDEN, detail, {"WWW-Authenticate": challenge})
