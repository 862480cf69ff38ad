"""Keeps other web sites out: a page that a user visits must not use the API on that user's host.

Two ways lead a browser here: a name of the attacker's that resolves to this host (DNS rebinding), which the
Host header tells; and a form or `fetch` that needs no answer, which `Sec-Fetch-Site` or `Origin` tells.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http import problems
from api.http.problems import ProblemType
from shared.settings import Settings, is_loopback

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({"same-origin", "none"})  # none: a user typed the address
_FORM_TYPES = ("application/x-www-form-urlencoded", "text/plain")  # what a form sends, and nothing else


class CrossSiteGuard:
    """ASGI middleware that refuses what a page of another web site sends; goes inside the envelope."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = _Hosts(settings)
        self._origins = settings.cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        refused = self._refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
        else:
            kind, detail = refused
            await problems.respond(Request(scope), kind, detail)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[ProblemType, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._hosts.know(host):
            names = ", ".join(self._hosts.names)
            return problems.WRONG_HOST, f"{host!r} is no name of this API, which is {names}"
        if scope["method"] in _SAFE_METHODS:
            return None
        if _is_cross_site(headers, host, self._origins):
            return problems.CROSS_SITE, f"a page of {headers.get('origin', 'another site')} may not do this"
        if headers.get("content-type", "").partition(";")[0].strip().lower() in _FORM_TYPES:
            return problems.NOT_JSON, f"no operation takes a form. {problems.NOT_JSON.advice}"
        return None


class _Hosts:
    """The names under which the API is asked."""

    def __init__(self, settings: Settings) -> None:
        own = ("localhost", "127.0.0.1", "::1", settings.host)
        self.names = tuple(dict.fromkeys(name.lower() for name in (*own, *settings.allowed_hosts)))
        self._any = not is_loopback(settings.host) and not settings.allowed_hosts

    def know(self, host: str) -> bool:
        """Whether a Host header names this API; its port is not looked at."""
        return self._any or _name(host) in self.names


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_cross_site(headers: Headers, host: str, allowed: Sequence[str]) -> bool:
    origin = headers.get("origin")
    if origin in allowed:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()
