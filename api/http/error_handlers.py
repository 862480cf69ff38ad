"""Turns what was raised while a request was answered into a problem."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from api.http import problems
from api.http.auth import Refusal
from shared.db.engine import is_transient
from shared.errors import InvalidSpec, TrainshedError

_MAX_ERRORS = 20
_RETRY_SOON = {"Retry-After": "1"}
_UNION_TAG_ERRORS = ("union_tag_not_found", "union_tag_invalid")


def install(app: FastAPI) -> None:
    """Have the app answer every error that can be foreseen as a problem."""
    for error in problems.OF_ERROR:
        app.add_exception_handler(error, _own)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeout, _database)


async def _own(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrainshedError)
    kind = problems.OF_ERROR[type(error)]
    found = None
    if isinstance(error, InvalidSpec):
        found = [{"pointer": f"/{error.part}/{error.field}", "detail": str(error)}]
    headers = _RETRY_SOON if kind.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problems.respond(request, kind, str(error), errors=found, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problems.respond(request, error.kind, str(error), headers=error.headers)


async def _database(request: Request, error: Exception) -> Response:
    if not (is_transient(error) or isinstance(error, PoolTimeout)):
        raise error
    kind = problems.DATABASE_UNAVAILABLE
    return problems.respond(request, kind, kind.advice, headers=_RETRY_SOON)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind: problems.ProblemType | HTTPStatus = HTTPStatus(error.status_code)
    detail, headers = error.detail, error.headers
    if kind == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path}; /docs lists what there is"
    elif kind == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": _allowed(request) or (headers or {}).get("Allow", "")}
        detail = f"{request.method} is not offered here; {headers['Allow']} is"
    elif kind == HTTPStatus.BAD_REQUEST:  # FastAPI's word for a body that it could not read
        kind, detail = problems.MALFORMED_JSON, f"the body cannot be read. {problems.MALFORMED_JSON.advice}"
    elif kind == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        kind = problems.TOO_LARGE
    return problems.respond(request, kind, detail, headers=headers)


def _allowed(request: Request) -> str:
    # Starlette names the methods of one route only, where several share the path
    path = getattr(request.scope.get("route"), "path_format", None)
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(path, ())))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        detail = f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
        return problems.respond(request, problems.MALFORMED_JSON, detail)
    if isinstance(error.body, bytes):  # it was not parsed
        sent = request.headers.get("content-type", "none")
        detail = f"the body's media type is {sent}. {problems.NOT_JSON.advice}"
        return problems.respond(request, problems.NOT_JSON, detail)
    found = [_explain(one, error.body) for one in error.errors()[:_MAX_ERRORS]]
    return problems.respond(request, problems.INVALID_REQUEST, _summary(found, error.errors()), errors=found)


def _summary(shown: Sequence[Mapping[str, str]], found: Sequence[Any]) -> str:
    place, detail = shown[0].get("pointer", shown[0].get("parameter", "")), shown[0]["detail"]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{place or 'the body'}: {detail}{more}"


def _explain(error: Mapping[str, Any], body: Any) -> dict[str, str]:
    """Where an error of pydantic's lies and what it is, without the value that was sent."""
    detail = str(error["msg"]).removeprefix("Value error, ")
    where, *path = error["loc"]
    if where != "body":
        return {"parameter": str(path[0]), "detail": detail}
    if error["type"] in _UNION_TAG_ERRORS:
        path = [*path, error["ctx"]["discriminator"].strip("'")]
    if error["type"] == "union_tag_not_found":
        detail = "Field required: it says which form the rest of the body has"
    return {"pointer": "".join(f"/{_escape(part)}" for part in _in_body(path, error, body)), "detail": detail}


def _in_body(path: Sequence[str | int], error: Mapping[str, Any], body: Any) -> Iterator[str | int]:
    """The parts of a path that lie in the body: pydantic also names the member of a union that it tried."""
    absent = error["type"] in ("missing", *_UNION_TAG_ERRORS)
    for position, part in enumerate(path):
        inside = isinstance(body, dict) and part in body
        if inside or (isinstance(body, list) and isinstance(part, int)):
            body = body[part]
            yield part
        elif absent and position == len(path) - 1:
            yield part


def _escape(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")  # RFC 6901
