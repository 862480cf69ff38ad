"""Authorization: the scope that each operation needs, and whether the request's API key has it.

Every router or operation names one of `READ`, `SUBMIT`, `ADMIN` or `OPEN` in its `dependencies`; an operation
that names none is refused. While no API key exists, programs on this host may do everything and other hosts
nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from sqlalchemy.orm import Session

from api.deps import ServicesDep, from_state
from api.http.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHENTICATED, ProblemType
from api.http.rate_limit import RateLimiter
from api.services import Services
from shared.errors import TrainshedError
from shared.schemas import Scope
from shared.settings import is_loopback
from shared.store import api_keys

SECURITY_SCHEME = "apiKey"

_CHALLENGE = 'Bearer realm="trainshed"'


class Refusal(TrainshedError):
    """The request's sender may not make it, or not this often; `headers` are added to the response."""

    def __init__(self, kind: ProblemType, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = headers


@dataclass(frozen=True)
class Caller:
    """The sender of a request, as its API key identifies it.

    Attributes:
        key_id: None for a key of the setting `API_KEYS`, and while no key is needed.
    """

    name: str
    scope: Scope
    key_id: UUID | None = None
    expires_at: datetime | None = None


_LOCAL_CALLER = Caller("anyone on this host", Scope.ADMIN)
_SETTINGS_CALLER = Caller("a key of API_KEYS", Scope.ADMIN)

RateLimiterDep = Annotated[RateLimiter, from_state("rate_limiter")]
_Credentials = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(
        HTTPBearer(
            scheme_name=SECURITY_SCHEME,
            description="An API key. While no key exists, the API needs none and serves this host only.",
            auto_error=False,
        )
    ),
]


def authorize(
    needed: SecurityScopes,
    request: Request,
    services: ServicesDep,
    limiter: RateLimiterDep,
    credentials: _Credentials,
) -> Caller:
    """Return the sender of a request if it may make it.

    Raises:
        Refusal: its key is missing, invalid or lacks the needed scope, or it exceeds the rate limit.
    """
    [scope] = map(Scope, needed.scopes)
    text = credentials.credentials if credentials else ""
    caller = _authenticate(text, services, is_local=_is_local(request))
    if caller != _LOCAL_CALLER:
        _limit_rate(limiter, str(caller.key_id) if caller and caller.key_id else _address(request))
    if caller is None:
        raise _unauthenticated(has_key=bool(text))
    if not caller.scope.includes(scope):
        raise _forbidden(caller, scope)
    return caller


async def _allow_anyone() -> None:
    pass


READ = Security(authorize, scopes=[Scope.READ])
SUBMIT = Security(authorize, scopes=[Scope.SUBMIT])
ADMIN = Security(authorize, scopes=[Scope.ADMIN])
OPEN = Depends(_allow_anyone)

CallerDep = Annotated[Caller, READ]


async def refuse_undeclared(request: Request) -> None:
    """Refuse an operation that declares no scope; a dependency of the whole app.

    Raises:
        RuntimeError: it declares none, which is a defect of the API.
    """
    route = request.scope["route"]
    if {authorize, _allow_anyone}.isdisjoint(dependency.dependency for dependency in route.dependencies):
        raise RuntimeError(f"{route.path_format} declares no scope: add READ, SUBMIT, ADMIN or OPEN to it")


def _address(request: Request) -> str:
    return request.client.host if request.client else "a socket"


def _is_local(request: Request) -> bool:
    return request.client is None or is_loopback(request.client.host)


def _authenticate(text: str, services: Services, *, is_local: bool) -> Caller | None:
    bootstrap_keys = services.settings.api_keys
    # all keys are compared, so that the time taken reveals nothing
    if text and sum(api_keys.same_secret(text, key.get_secret_value()) for key in bootstrap_keys):
        return _SETTINGS_CALLER
    key = api_keys.parse(text)
    if bootstrap_keys and key is None:
        return None
    needs_key = bool(bootstrap_keys) or not is_local
    return services.database.read(lambda session: _find_caller(session, key, needs_key=needs_key))


def _find_caller(session: Session, key: api_keys.NewApiKey | None, *, needs_key: bool) -> Caller | None:
    row = api_keys.find(session, key) if key else None
    if row is not None:
        return Caller(row.name, Scope(row.scope), row.id, row.expires_at)
    return None if needs_key or api_keys.any_exists(session) else _LOCAL_CALLER


def _limit_rate(limiter: RateLimiter, client: str) -> None:
    wait_s = ceil(limiter.acquire(client))
    if wait_s:
        detail = f"{client} sends more than {limiter.per_second:g} requests a second: wait {wait_s} s"
        raise Refusal(TOO_MANY_REQUESTS, detail, {"Retry-After": str(wait_s)})


def _unauthenticated(*, has_key: bool) -> Refusal:
    if has_key:
        detail = "the API key is unknown, revoked or expired: send another one"
        return Refusal(UNAUTHENTICATED, detail, {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'})
    detail = "this API needs a key: send the header `Authorization: Bearer KEY`"
    return Refusal(UNAUTHENTICATED, detail, {"WWW-Authenticate": _CHALLENGE})


def _forbidden(caller: Caller, scope: Scope) -> Refusal:
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
    detail = f"the key {caller.name!r} has the scope `{caller.scope}`; this operation needs `{scope}`"
    return Refusal(FORBIDDEN, detail, {"WWW-Authenticate": challenge})
