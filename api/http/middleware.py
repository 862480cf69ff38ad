"""What is around every request and answer: a request id, safe headers, a bounded body, a last handler."""

import re
from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from uuid import uuid4

from anyio import BrokenResourceError
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import problems
from api.monitoring.prometheus import RequestTimes
from shared import log

MAX_BODY_BYTES = 2**20
MAX_PICTURES_BYTES = 5 * 2**20  # where pictures are sent to be read

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
_HEADERS = {
    # pictures of digits stand in the documents as data: addresses
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_log = log.get_logger(__name__)


class RequestContext:
    """ASGI middleware around the whole app.

    Each answer carries `X-Request-ID`, the client's if it is a sane one; log lines carry it too. A body of
    more than `MAX_BODY_BYTES`, or `MAX_PICTURES_BYTES`, is refused with 413 as soon as that is seen. An error
    that nothing foresaw is logged, and answered with 500 and nothing of its content.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_labelled(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update({**_HEADERS, "X-Request-ID": request_id})
            await send(message)

        with log.bound(request_id=request_id):
            try:
                await self._app(scope, _bounded(receive, _limit(scope)), send_labelled)
            except Exception as error:
                if started and _tells_that_the_client_left(error):
                    return
                _log.exception("a request failed", method=scope["method"], path=scope["path"])
                if started:
                    raise
                answer = problems.respond(Request(scope), problems.INTERNAL, problems.INTERNAL.advice)
                await answer(scope, receive, send_labelled)


def _tells_that_the_client_left(error: Exception) -> bool:
    """Whether it is what FastAPI raises when an event was on its way as a stream's client went."""
    return isinstance(error, ExceptionGroup) and error.split(BrokenResourceError)[1] is None


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SANE_REQUEST_ID.fullmatch(given) else str(uuid4())


def _limit(scope: Scope) -> int:
    return MAX_PICTURES_BYTES if scope["path"].endswith("/predict") else MAX_BODY_BYTES


def _bounded(receive: Receive, limit: int) -> Receive:
    size = 0

    async def receive_bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            detail = f"the body has more than {limit:,} bytes; {problems.TOO_LARGE.advice}"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        return message

    return receive_bounded


class Timed:
    """ASGI middleware that counts every request."""

    def __init__(self, app: ASGIApp, times: RequestTimes, now: Callable[[], float] = perf_counter) -> None:
        self._app = app
        self._times = times
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._now()

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._times.observe(scope, message["status"], self._now() - began)
            await send(message)

        await self._app(scope, receive, send_timed)
