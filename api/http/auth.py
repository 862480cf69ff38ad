"""Authorization: the scope that each operation needs, and whether the request's API key has it.

Every router or operation names one of `READ`, `SUBMIT`, `ADMIN` or `OPEN` in its `dependencies`; an operation
that names none is refused. While no API key exists, programs on this host may do everything and other hosts
nothing.
"""

from collections.abc import Mapping
from math import ceil
from typing import Annotated

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope as RequestScope

from api.deps import from_state
from api.http import access_log
from api.http.callers import LOCAL_CALLER, Caller, Callers, address, sent_key
from api.http.problem_type import ProblemType
from api.http.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHENTICATED
from api.http.rate_limit import RateLimiter
from shared.errors import TrainshedError
from shared.schemas import Scope, SubmittedBy
from shared.store.rights import NONE, Actor
from shared.store.submissions import Submitter
from shared.store.tenants import name_of

SECURITY_SCHEME = "apiKey"

_CHALLENGE = 'Bearer realm="trainshed"'


class Refusal(TrainshedError):
    """The caller may not make the request, or not this often; `headers` are added to the response."""

    def __init__(self, kind: ProblemType, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = headers


CallersDep = Annotated[Callers, from_state("callers")]
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


async def authorize(
    needed: SecurityScopes,
    request: Request,
    callers: CallersDep,
    limiter: RateLimiterDep,
    _documented: _Credentials,
) -> Caller:
    """Check that the caller of a request may make it, and return the caller.

    Raises:
        Refusal: the key is missing, invalid or lacks the needed scope, or the caller exceeds the rate limit.
        SQLAlchemyError: the database is unavailable.
    """
    if outage := request.scope["state"].get("outage"):
        raise outage
    [scope] = map(Scope, needed.scopes)
    caller = await callers.identify(request.scope)
    _limit_rate(limiter, caller, request.scope)
    if caller is None:
        raise _unauthenticated(has_key=bool(sent_key(request.scope)))
    request.state.caller = caller  # pages show the signed-in user
    access_log.made_by(caller.actor.name, caller.key_id)
    if not caller.scope.includes(scope):
        raise _forbidden(caller, scope)
    return caller


async def authenticate(key: bytes, request: Request) -> Caller | None:
    """Return the caller whose key was entered to sign in, or None if the key is invalid.

    Raises:
        Refusal: too many tries.
        SQLAlchemyError: the database is unavailable.
    """
    caller: Caller | None = await request.state.callers.identify_key(key, request.scope)
    _limit_rate(request.state.rate_limiter, caller, request.scope)
    return caller


async def admits_reader(request: RequestScope) -> bool:
    """Return whether `authorize` would accept a request that needs the scope `read`.

    An accepted request counts towards the rate limit. Any other goes on to `authorize`, which gives the
    reason; one that exceeds the rate limit is not counted here.
    """
    state = request["state"]
    try:
        caller: Caller | None = await state["callers"].identify(request)
    except SQLAlchemyError as error:
        report_later(request, error)
        return False
    if caller is None or not caller.may_read:
        return False
    access_log.made_by(caller.actor.name, caller.key_id)
    return caller is LOCAL_CALLER or not state["rate_limiter"].acquire(caller.limited_as, is_known=True)


def report_later(request: RequestScope, outage: SQLAlchemyError) -> None:
    """Make `authorize` raise this database error, so that the request does not wait for another one."""
    request["state"]["outage"] = outage


async def _allow_anyone() -> None:
    pass


READ = Security(authorize, scopes=[Scope.READ])
SUBMIT = Security(authorize, scopes=[Scope.SUBMIT])
ADMIN = Security(authorize, scopes=[Scope.ADMIN])
OPEN = Depends(_allow_anyone)

CallerDep = Annotated[Caller, READ]


async def client_of(request: Request) -> str:
    """Return the name of an authorized request's client: its key, or its address if it needs no key."""
    caller: Caller = request.state.caller
    return f"address {address(request.scope)}" if caller is LOCAL_CALLER else caller.limited_as


ClientDep = Annotated[str, Depends(client_of)]


async def submitter_of(request: Request) -> Submitter:
    """Return the submitter of a request's jobs. The tenant is the caller's team, else its key or address."""
    caller: Caller = request.state.caller
    tenant = await client_of(request) if caller.team is None else name_of(caller.team, caller.key_id)
    return Submitter(tenant, caller.key_id, caller.actor)


SubmitterDep = Annotated[Submitter, Depends(submitter_of)]


async def _actor_of(request: Request) -> Actor:
    caller: Caller = request.state.caller
    return caller.actor


ActorDep = Annotated[Actor, Depends(_actor_of)]
"""The caller of a request that changes something; the store's functions check its rights."""


def whose(submitted_by: str | None, caller: Caller) -> str | None:
    """Return the filter `submitted_by`, with `me` replaced by the id of the caller's key."""
    return str(caller.key_id or NONE) if submitted_by == "me" else submitted_by


async def _submitted_by(
    caller: CallerDep, submitted_by: Annotated[SubmittedBy | None, Query()] = None
) -> str | None:
    return whose(submitted_by, caller)


SubmittedByDep = Annotated[str | None, Depends(_submitted_by)]
"""The submitter to whose sweeps or models a list is restricted, or None for all."""


async def refuse_undeclared(request: Request) -> None:
    """Refuse an operation that declares no scope; a dependency of the whole app.

    Raises:
        RuntimeError: the operation declares none, which is a defect of the API.
    """
    route = request.scope["route"]
    if {authorize, _allow_anyone}.isdisjoint(dependency.dependency for dependency in route.dependencies):
        raise RuntimeError(f"{route.path_format} declares no scope: add READ, SUBMIT, ADMIN or OPEN to it")


def _limit_rate(limiter: RateLimiter, caller: Caller | None, request: RequestScope) -> None:
    if caller is LOCAL_CALLER:
        return
    client = _stranger(request) if caller is None else caller.limited_as
    wait_s = ceil(limiter.acquire(client, is_known=caller is not None))
    if wait_s:
        detail = f"{client} sends more than {limiter.per_second:g} requests a second: wait {wait_s} s"
        raise Refusal(TOO_MANY_REQUESTS, detail, {"Retry-After": str(wait_s)})


def _stranger(request: RequestScope) -> str:
    """Return the name by which the rate limit counts the unauthenticated requests of an address."""
    return f"{address(request)} with {'invalid keys' if sent_key(request) else 'no key'}"


def _unauthenticated(*, has_key: bool) -> Refusal:
    if has_key:
        detail = "the API key is unknown, revoked or expired: use another one"
        return Refusal(UNAUTHENTICATED, detail, {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'})
    detail = (
        "this API needs a key: send the header `Authorization: Bearer KEY`. With `trainshed`, set "
        "TRAINSHED_API_KEY or give --api-key KEY"
    )
    return Refusal(UNAUTHENTICATED, detail, {"WWW-Authenticate": _CHALLENGE})


def _forbidden(caller: Caller, scope: Scope) -> Refusal:
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
    detail = f"the key {caller.name!r} has the scope `{caller.scope}`; this operation needs `{scope}`"
    return Refusal(FORBIDDEN, detail, {"WWW-Authenticate": challenge})
