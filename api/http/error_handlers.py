"""Exception handlers: each error that a request raises becomes a problem document."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.http import problems
from api.http.auth import Refusal
from api.http.database_problems import OF_OUTAGE, SCHEMA_OUTDATED, VERSION_OUTDATED
from api.http.problem_type import ProblemType
from shared.db.floor import VersionOutdated
from shared.db.outages import MEANINGS, Outages, Reason, is_unavailable
from shared.errors import InvalidSpec, TrainshedError
from shared.schemas.refusals import in_words

_MAX_ERRORS_LISTED = 20
_RETRY_SOON = {"Retry-After": "1"}
_UNION_TAG_ERRORS = ("union_tag_not_found", "union_tag_invalid")


def install(app: FastAPI) -> None:
    """Add a handler for every expected error to an app; `RequestContext` responds to unexpected ones."""
    for error in problems.OF_ERROR:
        app.add_exception_handler(error, _trainshed_error)
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientDisconnect, _client_left)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(PoolTimeout, _database_error)
    app.add_exception_handler(VersionOutdated, _version_outdated)


async def _trainshed_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrainshedError)
    kind = problems.OF_ERROR[type(error)]
    errors = None
    if isinstance(error, InvalidSpec):
        errors = [{"pointer": f"/{error.part}/{error.field}", "detail": str(error)}]
    headers = _RETRY_SOON if kind.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problems.respond(request, kind, str(error), errors=errors, headers=headers)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problems.respond(request, error.kind, str(error), headers=error.headers)


async def _database_error(request: Request, error: Exception) -> Response:
    if is_unavailable(error):
        kind, detail = _outage(request, error)
    elif step := await run_in_threadpool(_missing_step, request):
        kind, detail = SCHEMA_OUTDATED, f"the database's schema is that of an older version: {step}"
    else:
        raise error
    return problems.respond(request, kind, f"{detail}. {kind.advice}", headers=_RETRY_SOON)


def _outage(request: Request, error: Exception) -> tuple[ProblemType, str]:
    """Return an outage's problem type and a detail without the server's message, which is only logged."""
    services = getattr(request.state, "services", None)
    outages = Outages() if services is None else services.database.outages
    reason = outages.explain(error)
    if reason is not Reason.UNAVAILABLE:
        return OF_OUTAGE[reason], MEANINGS[reason].partition(":")[0]
    own_words = " ".join(map(str, error.args)) if isinstance(error, PoolTimeout) else ""
    return OF_OUTAGE[reason], own_words or "the database does not answer"


async def _version_outdated(request: Request, error: Exception) -> Response:
    kind = VERSION_OUTDATED
    return problems.respond(request, kind, f"{error}. {kind.advice}", headers=_RETRY_SOON)


def _missing_step(request: Request) -> str:
    services = getattr(request.state, "services", None)
    try:
        return "" if services is None else services.database.missing_step()
    except SQLAlchemyError:
        return ""


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST and (reason := _unsupported_json(error.__cause__)):
        errors = [{"pointer": "", "detail": reason}]
        return problems.respond(request, problems.INVALID_REQUEST, f"the body: {reason}", errors=errors)
    kind, detail, headers = problems.unexplained(error.status_code), error.detail, error.headers
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            detail = f"there is nothing at {request.url.path}: /docs lists the operations"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": _allowed(request) or (headers or {}).get("Allow", "")}
            detail = f"{request.method} is not allowed here; allowed: {headers['Allow']}"
        case HTTPStatus.BAD_REQUEST:  # FastAPI could not decode the body
            kind = problems.MALFORMED_JSON
            detail = f"the body is unreadable. {kind.advice}"
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            kind = problems.TOO_LARGE
    return problems.respond(request, kind, detail, headers=headers)


async def _client_left(_request: Request, _error: Exception) -> Response:
    """Return a response, which nobody reads, to a client that left before its body had arrived."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


def _unsupported_json(error: BaseException | None) -> str:
    """Return the reason why Python cannot read some valid JSON, or an empty text for other errors."""
    if isinstance(error, RecursionError):
        return "Its arrays and objects are nested too deeply"
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):  # the digit limit of `int`
        return "A number has too many digits"
    return ""


def _allowed(request: Request) -> str:
    # Starlette names the methods of only one of the routes that share the path
    path = getattr(request.scope.get("route"), "path_format", None)
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(path, ())))


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        detail = f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
        return problems.respond(request, problems.MALFORMED_JSON, detail)
    if isinstance(error.body, bytes):  # FastAPI has not parsed the body
        media_type = request.headers.get("content-type", "missing")
        detail = f"the body's media type is {media_type}. {problems.NOT_JSON.advice}"
        return problems.respond(request, problems.NOT_JSON, detail)
    errors = [_explain(item, error.body) for item in error.errors()[:_MAX_ERRORS_LISTED]]
    detail = _summarize(errors[0], len(error.errors()))
    return problems.respond(request, problems.INVALID_REQUEST, detail, errors=errors)


def _summarize(error: Mapping[str, str], count: int) -> str:
    place = error.get("pointer", error.get("parameter", ""))
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{place or 'the body'}: {error['detail']}{more}"


def _explain(error: Mapping[str, Any], body: Any) -> dict[str, str]:
    """Return the place and the message of one of pydantic's errors, without the value that was sent."""
    detail = in_words(error)
    source, *path = error["loc"]
    if source != "body":
        return {"parameter": str(path[0]), "detail": detail}
    if error["type"] in _UNION_TAG_ERRORS:
        path = [*path, error["ctx"]["discriminator"].strip("'")]
    if error["type"] == "union_tag_not_found":
        detail = "is required: it selects the schema of the other fields"
    pointer = "".join(f"/{_escape(part)}" for part in _path_in_body(path, error, body))
    return {"pointer": pointer, "detail": detail}


def _path_in_body(path: Sequence[str | int], error: Mapping[str, Any], body: Any) -> Iterator[str | int]:
    """Yield the parts of an error's path that exist in the body; pydantic adds the union member it tried."""
    is_absent = error["type"] in ("missing", *_UNION_TAG_ERRORS)
    for position, part in enumerate(path):
        is_key = isinstance(body, dict) and part in body
        if is_key or (isinstance(body, list) and isinstance(part, int)):
            body = body[part]
            yield part
        elif is_absent and position == len(path) - 1:
            yield part


def _escape(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")  # RFC 6901
