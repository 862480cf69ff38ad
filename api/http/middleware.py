"""Middleware around every request: ids, security headers, body size limits, unexpected errors, timing."""

import asyncio
import re
from http import HTTPStatus
from time import perf_counter

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid4

from api.http import access_log, problems
from api.http.headers import first_header, join_conditions
from api.http.problem_type import ProblemType
from api.monitoring.prometheus import RequestTimes
from shared import log

MAX_BODY_BYTES = 2**20
MAX_IMAGES_BYTES = 5 * 2**20  # for a body with images to classify
MAX_RECEIVE_S = 30.0  # for a body to arrive; enough for the largest one at 1.4 Mbit/s

_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_DIGITS = 20  # digits of a length that are parsed; Python refuses numbers of thousands of digits
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")
_SECURITY_HEADERS = (
    # pages show images of digits as data: URLs, and drawn or exported ones as blob: URLs
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    # with no-referrer, browsers would hide the origin of the pages' own forms from the cross-site guard
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)

_log = log.get_logger(__name__)


class RequestContext:
    """The outermost ASGI middleware: request ids, security headers, body size limits, unexpected errors.

    Each response and log line gets an `X-Request-ID`, the client's if it is well-formed. A compressed body is
    refused with 415, a body that has not arrived within `MAX_RECEIVE_S` with 408, and a body of more than
    `MAX_BODY_BYTES`, or `MAX_IMAGES_BYTES`, with 413: before it is received if the client states its size,
    otherwise as soon as it exceeds the limit. An unexpected error is logged, and answered with a 500 that
    does not reveal it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        max_bytes = MAX_IMAGES_BYTES if scope["path"].endswith("/predict") else MAX_BODY_BYTES
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own_id = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), *_SECURITY_HEADERS, own_id]}
            await send(message)

        join_conditions(scope)
        log.handling_request(request_id)
        try:
            if (refusal := _refusal(scope, max_bytes)) is None:
                await self._app(scope, _limited(scope, receive, max_bytes), send_with_headers)
            else:
                await problems.respond(Request(scope), *refusal)(scope, receive, send_with_headers)
        except Exception:
            _log.exception("a request failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            kind = problems.INTERNAL
            response = problems.respond(Request(scope), kind, f"{kind.title}. {kind.advice}")
            await response(scope, receive, send_with_headers)


def _request_id(scope: Scope) -> str:
    request_id = first_header(scope, b"x-request-id")
    return request_id.decode() if request_id and _REQUEST_ID.fullmatch(request_id) else str(uuid4())


def _refusal(scope: Scope, max_bytes: int) -> tuple[ProblemType, str] | None:
    """Return the problem type and detail for a body that is refused before its arrival, or None."""
    if scope["method"] in _METHODS_WITHOUT_BODY:
        return None
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            encoding = value.decode("latin-1")
            return problems.ENCODED, f"the body's `Content-Encoding` is {encoding}. {problems.ENCODED.advice}"
    size = first_header(scope, b"content-length") or b""
    if size.isdigit() and int(size[:_MAX_DIGITS]) > max_bytes:
        return problems.TOO_LARGE, _too_large(max_bytes)
    return None


def _too_large(max_bytes: int) -> str:
    return f"the body has more than {max_bytes:,} bytes. {problems.TOO_LARGE.advice}"


def _limited(scope: Scope, receive: Receive, max_bytes: int) -> Receive:
    if scope["method"] in _METHODS_WITHOUT_BODY:
        return receive
    size, more, until = 0, True, None

    async def receive_limited() -> Message:
        nonlocal size, more, until
        if not more:  # the only message still to come is the client's disconnection, at any time
            return await receive()
        loop = asyncio.get_running_loop()
        until = until or loop.time() + MAX_RECEIVE_S
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError as error:
            detail = f"the body has not arrived within {MAX_RECEIVE_S:g} s"
            # the connection is closed because the rest of the body is not received either
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from error
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(max_bytes))
        more = message.get("more_body", False)
        return message

    return receive_limited


class RequestTiming:
    """ASGI middleware that records how long each request takes until its response begins."""

    def __init__(self, app: ASGIApp, times: RequestTimes) -> None:
        self._app = app
        self._times = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path_format", None)
                seconds = perf_counter() - started
                access_log.response_begins(seconds)
                self._times.observe(route, scope["method"], message["status"], seconds)
            await send(message)

        await self._app(scope, receive, send_timed)
