"""Errors on pages: a browser that asks for a page gets a problem as a page, or the sign-in page for a 401.

The middleware sees every problem document, including those of the cross-site guard and of unexpected errors.
"""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.headers import first_header
from api.web import pages
from api.web.forms import see_other

_JSON_PATHS = ("/v1/", "/static/", "/problems/", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics")
_REPLACED = frozenset({b"content-type", b"content-length", b"www-authenticate"})


class PageErrors:
    """ASGI middleware that turns problem documents into pages. Runs outside `RequestContext`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        if not _asks_for_page(scope):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def send_page(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    kept = [header for header in start["headers"] if header[0].lower() not in _REPLACED]
                    response = _page(Request(scope), json.loads(body))
                    response.raw_headers.extend(kept)
                    await response(scope, receive, send)

        await self._app(scope, receive, send_page)


def _asks_for_page(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["path"].startswith(_JSON_PATHS):
        return False
    return b"text/html" in (first_header(scope, b"accept") or b"")


def _is_problem(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"application/problem+json")
        for name, value in start["headers"]
    )


def _page(request: Request, problem: dict[str, Any]) -> Response:
    if problem["status"] == HTTPStatus.UNAUTHORIZED:
        query = f"?{request.url.query}" if request.url.query else ""
        target = request.url.path + query if request.method == "GET" else "/"
        return see_other(f"/sign-in?next={quote(target, safe='/')}")
    return pages.render(request, "error.html", status=problem["status"], problem=problem)
