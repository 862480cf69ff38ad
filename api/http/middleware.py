"""Middleware around every request: ids, security headers, body size limits, unexpected errors, timing."""

import re
from http import HTTPStatus
from time import perf_counter

from anyio import BrokenResourceError
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid4

from api.http import access_log, problems
from api.http.headers import first_header
from api.monitoring.prometheus import RequestTimes
from shared import log

MAX_BODY_BYTES = 2**20
MAX_IMAGES_BYTES = 5 * 2**20  # of a body that holds images to classify

_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_DIGITS = 20  # of a length that are read: a number of thousands of digits is an error of Python's
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")
_SECURITY_HEADERS = (
    # pages show images of digits as data: URLs, and drawn or exported ones as blob: URLs
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    # not no-referrer: browsers would then hide the origin of the pages' own forms from the cross-site guard
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)

_log = log.get_logger(__name__)


class RequestContext:
    """The outermost ASGI middleware: request ids, security headers, body size limits, unexpected errors.

    Gives each response and log line an `X-Request-ID`, the client's if it is well-formed. Refuses a
    compressed body with 415, and one of more than `MAX_BODY_BYTES`, or `MAX_IMAGES_BYTES`, with 413: before
    it is received if the client states its size, else as soon as the limit is passed. Logs an unexpected
    error, and responds with a 500 that reveals nothing of it.
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

        log.handling_request(request_id)
        try:
            if (refusal := _refusal(scope, max_bytes)) is None:
                await self._app(scope, _limited(receive, max_bytes), send_with_headers)
            else:
                await problems.respond(Request(scope), *refusal)(scope, receive, send_with_headers)
        except Exception as error:
            if started and _is_disconnect(error):
                return
            _log.exception("a request failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            kind = problems.INTERNAL
            response = problems.respond(Request(scope), kind, f"{kind.title}. {kind.advice}")
            await response(scope, receive, send_with_headers)


def _is_disconnect(error: Exception) -> bool:
    """Return whether an error is what FastAPI's event streams raise when their client disconnects."""
    return isinstance(error, ExceptionGroup) and error.split(BrokenResourceError)[1] is None


def _request_id(scope: Scope) -> str:
    request_id = first_header(scope, b"x-request-id")
    return request_id.decode() if request_id and _REQUEST_ID.fullmatch(request_id) else str(uuid4())


def _refusal(scope: Scope, max_bytes: int) -> tuple[problems.ProblemType, str] | None:
    """Return the problem, and its details, of a body that need not be received; None if there is none."""
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


def _limited(receive: Receive, max_bytes: int) -> Receive:
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(max_bytes))
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
