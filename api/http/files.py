"""Responses that are files: their entity tags and cache headers, and their OpenAPI description."""

from hashlib import sha256
from typing import Any

from fastapi import Response

from api.http.headers import etag, is_current

BINARY = "application/octet-stream"

_REVALIDATED = "private, no-cache"
_IMMUTABLE = "private, max-age=31536000, immutable"
_BYTES = {"type": "string", "format": "binary"}


def documented_file(
    description: str, media_type: str = BINARY, schema: dict[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` of an operation that responds with a file, or 304 if the client has it."""
    return {
        200: {"description": description, "content": {media_type: {"schema": schema or _BYTES}}},
        304: {"description": "Unchanged since `If-None-Match`"},
    }


def file_headers(version: str, *, is_lasting: bool) -> dict[str, str]:
    """Return the headers of a file.

    Args:
        version: a text that changes with the content.
        is_lasting: whether the URL has this content for ever, so that clients need not ask again.
    """
    # sites in `CORS_ORIGINS` get other headers, so a browser must cache the file for each site separately
    return {
        "ETag": etag(version),
        "Cache-Control": _IMMUTABLE if is_lasting else _REVALIDATED,
        "Vary": "Origin",
    }


def unchanged(if_none_match: str | None, headers: dict[str, str]) -> Response | None:
    """Return the response to a client that already has the file with these headers, or None if it has not."""
    return Response(status_code=304, headers=headers) if is_current(if_none_match, headers["ETag"]) else None


def file_response(
    content: bytes, if_none_match: str | None, *, media_type: str = BINARY, is_lasting: bool = False
) -> Response:
    """Return a response with a file, tagged by the digest of its content, or 304 if the client has it."""
    headers = file_headers(sha256(content).hexdigest(), is_lasting=is_lasting)
    return unchanged(if_none_match, headers) or Response(content, media_type=media_type, headers=headers)
