"""HTML forms of the pages, and where they lead afterwards. They work without JavaScript."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse


async def _read(request: Request) -> Mapping[str, str]:
    body = (await request.body()).decode("utf-8", "replace")
    return dict(parse_qsl(body, keep_blank_values=True))


FormDep = Annotated[Mapping[str, str], Depends(_read)]
"""The fields of a form; of a repeated one the last value."""


def own_path(text: str) -> str:
    """Return a path of this site from what a request names as its target; `/` if it leads elsewhere."""
    is_path = text.startswith("/") and text.isprintable() and "\\" not in text
    if not is_path or text.startswith("//"):
        return "/"
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else text


def see_other(path: str) -> RedirectResponse:
    """Return the response to a form that has been carried out: the browser shows a page by GET."""
    return RedirectResponse(path, 303)
