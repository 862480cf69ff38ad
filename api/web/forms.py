"""HTML forms of the pages, and the redirects after them. The forms work without JavaScript."""

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from shared.schemas.refusals import in_words


async def _read(request: Request) -> Mapping[str, str]:
    body = (await request.body()).decode("utf-8", "replace")
    return dict(parse_qsl(body, keep_blank_values=True))


FormDep = Annotated[Mapping[str, str], Depends(_read)]
"""The fields of a form, by name; a repeated field has its last value."""


def number(text: str) -> int | float | str | None:
    """Return the number in a field, None if the field is empty, or the text itself if it is not a number."""
    text = text.strip()
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", text, re.I):
        return float(text)
    return text or None


def texts(text: str) -> list[str]:
    """Return the texts in a field that separates them by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def errors(error: ValidationError) -> dict[str, str]:
    """Return the errors of the fields, by name."""
    return {str(item["loc"][0]): in_words(item) for item in error.errors()}


def own_path(text: str) -> str:
    """Return the target that a request names if it is a path of this site, else `/`."""
    is_path = text.startswith("/") and text.isprintable() and "\\" not in text
    if not is_path or text.startswith("//"):
        return "/"
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else text


def see_other(path: str) -> RedirectResponse:
    """Return the response to a successful form, after which the browser gets the page at this path."""
    return RedirectResponse(path, 303)
