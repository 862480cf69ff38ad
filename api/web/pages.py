"""Pages as HTML: escaped Jinja templates, with the variables of every page: caller, theme, event stream."""

import gzip
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from uuid_utils.compat import uuid4

from api.http.callers import LOCAL_CALLER, Caller
from api.web import failures
from api.web.formats import FILTERS
from api.web.static import static_files
from shared.schemas import Scope

THEME_COOKIE = "trainshed_theme"
THEMES = ("system", "light", "dark")

# a browser must request a page again before it shows the page again
_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
_COMPRESSION = 4  # saves most of the bytes that a higher level saves, in a third of its time
NAVIGATION = (
    ("/", "Overview"),
    ("/jobs", "Jobs"),
    ("/sweeps", "Sweeps"),
    ("/models", "Models"),
    ("/try", "Try it"),
    ("/workers", "Workers"),
    ("/settings", "Settings"),
)


@dataclass(frozen=True)
class Stream:
    """The event stream that a page follows, and the id of the last event that the page already shows."""

    address: str
    after: object


@dataclass(frozen=True)
class Allowed:
    """The caller's permissions; a page offers no actions beyond them."""

    scope: Scope | None

    @property
    def submit(self) -> bool:
        """Whether the caller may submit and change jobs."""
        return self.scope is not None and self.scope.includes(Scope.SUBMIT)

    @property
    def admin(self) -> bool:
        """Whether the caller may administer keys, workers and queues."""
        return self.scope is not None and self.scope.includes(Scope.ADMIN)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("api.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS, failure=failures.explain)
    environment.globals["static"] = static_files().address
    environment.globals["new_key"] = lambda: str(uuid4())  # an idempotency key for a form
    return environment


def render(
    request: Request,
    template: str,
    *,
    now: datetime | None = None,
    stream: Stream | None = None,
    status: int = 200,
    **context: Any,
) -> HTMLResponse:
    """Render a template as the response to a request.

    Args:
        now: the database's time when the facts were read; a template that shows times needs it.
        stream: the event stream that `live.js` follows; None for a page that is not live.
        context: the template's variables.
    """
    caller: Caller | None = getattr(request.state, "caller", None)
    html = (
        _environment()
        .get_template(template)
        .render(
            path=request.url.path,
            navigation=NAVIGATION,
            theme=theme(request),
            caller=None if caller is LOCAL_CALLER else caller,
            is_signed_in=caller not in (None, LOCAL_CALLER),
            may=Allowed(caller.scope if caller else None),
            now=now,
            stream=stream,
            **context,
        )
    )
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return HTMLResponse(html, status, _HEADERS)
    # the compressed length reveals no secret of a page: a form's key is drawn anew for each response
    compressed = gzip.compress(html.encode(), _COMPRESSION, mtime=0)
    return HTMLResponse(compressed, status, {**_HEADERS, "Content-Encoding": "gzip"})


def list_address(request: Request, cursor: str | None = None, **changes: str) -> str:
    """Return the address of another page of the same list, by default the first."""
    changes |= {"cursor": cursor} if cursor else {}
    fields = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if value and name not in ("cursor", *changes)
    ]
    query = urlencode([*fields, *changes.items()])
    return f"{request.url.path}?{query}" if query else request.url.path


def theme(request: Request) -> str:
    """Return the theme that a visitor has chosen, or `system`."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else THEMES[0]
