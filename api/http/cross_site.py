"""Protection against other web sites: a page that a user visits must not use the API on that user's host.

A malicious page has two ways: a name of its own that resolves to this host (DNS rebinding), which shows in
`Host`; and a form or `fetch` whose response it need not read, which shows in `Sec-Fetch-Site` or `Origin`.
"""

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http import problems
from api.http.headers import first_header
from api.http.problem_type import ProblemType
from shared.addresses import is_loopback
from shared.settings import Settings

_REMEMBERED_HOSTS = 1_024  # `Host` headers whose check is cached
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods that change nothing."""

_OWN_SITES = frozenset({"same-origin", "none"})  # none: the user entered the URL
_API_PREFIX = "/v1/"  # these paths take JSON from programs; the other paths are pages with forms
_FORM_TYPES = ("application/x-www-form-urlencoded", "text/plain")  # only HTML forms send these


def is_from_own_page(request: Scope) -> bool:
    """Return whether a page of this API made a request, by a browser's headers; False for programs."""
    site = first_header(request, b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    # browsers omit `Sec-Fetch-Site` where a host is reached by plain HTTP
    origin, host = first_header(request, b"origin"), first_header(request, b"host")
    return bool(origin) and urlsplit((origin or b"").decode("latin-1")).netloc.lower().encode() == host


class CrossSiteGuard:
    """ASGI middleware that refuses requests from pages of other web sites. Runs inside `RequestContext`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._origins = settings.cors_origins
        own = ("localhost", "127.0.0.1", "::1", settings.host)
        self._host_names = tuple(dict.fromkeys(map(str.lower, (*own, *settings.allowed_hosts))))
        self._accepts_any_host = not is_loopback(settings.host) and not settings.allowed_hosts
        self._is_own_host = lru_cache(maxsize=_REMEMBERED_HOSTS)(self._is_own)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            kind, detail = refusal
            await problems.respond(Request(scope), kind, detail)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[ProblemType, str] | None:
        host = (first_header(scope, b"host") or b"").decode("latin-1")
        if not self._is_own_host(host):
            names = ", ".join(self._host_names)
            return problems.WRONG_HOST, f"{host!r} is not a name of this API; its names are {names}"
        if scope["method"] in SAFE_METHODS:
            return None
        headers = Headers(scope=scope)
        if _is_cross_site(headers, host, self._origins):
            site = headers.get("origin", "another site")
            return problems.CROSS_SITE, f"pages of {site} may not change anything here"
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_of_page = not scope["path"].startswith(_API_PREFIX) and is_from_own_page(scope)
        if media_type in _FORM_TYPES and not is_of_page:
            return problems.NOT_JSON, f"HTML forms are not accepted. {problems.NOT_JSON.advice}"
        return None

    def _is_own(self, host: str) -> bool:
        return self._accepts_any_host or _host_name(host) in self._host_names


def _host_name(host: str) -> str:
    """Return a `Host` header without its port."""
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
        return site not in _OWN_SITES
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()
