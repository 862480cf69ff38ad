"""ASGI middleware in front of FastAPI that answers polls of unchanged jobs from cached responses.

A poll costs microseconds here, where FastAPI and the database need milliseconds. FastAPI renders responses
that are not cached, and handles every request that is not a plain and permitted poll, so that all errors come
from FastAPI.
"""

import re
from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import auth, request_traces
from api.http.headers import first_header, is_current
from api.jobs.rendered import Rendered, RenderedResponses, Source

_PATH = re.compile(rb"/v1/jobs/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(/metrics|/evaluation)?")
_METRICS_QUERY = re.compile(rb"(?:(?:^|&)(?:resolution|names|max_points|format)=[\w,]*)+")
_VERSIONS = re.compile(rb'"(\d{1,9})[".]')  # a job's version in a strong or weak tag of If-None-Match
_HEADERS_OF_304 = frozenset({b"etag", b"retry-after"})

Keep = Callable[[Source], None]


async def _keep(request: Request) -> Keep:
    def keep(source: Source) -> None:
        request.state.rendered_from = source

    return keep


KeepDep = Annotated[Keep, Depends(_keep)]
"""A function that a route calls, with the source of its response, to let the response be cached."""


def keep_finished(keep: Keep, job_id: UUID, version: int | None) -> None:
    """Let the response be cached if the job has finished, in which case `version` is not None."""
    if version is not None:
        keep(Source(job_id, version, is_lasting=True))


class RenderedJobs:
    """ASGI middleware that answers polls of jobs from cached responses. Needs the app's lifespan state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request, or pass it on."""
        target = _target(scope)
        if target is None:
            await self._app(scope, receive, send)
            return
        responses: RenderedResponses = scope["state"]["rendered"]
        tags = first_header(scope, b"if-none-match")
        rendered = responses.fresh(target) or await _checked(scope, target)
        if rendered is None or _is_outdated(rendered, tags):
            await self._render(scope, receive, send, target, tags)
        elif await auth.admits_reader(scope):
            scope["route"] = rendered.route  # the request metrics name it
            request_traces.note_route(scope)
            await _respond(send, rendered, tags)
        else:
            await self._app(scope, receive, send)

    async def _render(
        self, scope: Scope, receive: Receive, send: Send, target: bytes, tags: bytes | None
    ) -> None:
        """Let FastAPI respond, and cache its response if its route allows that."""
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        # without this header the response always has a body, which other clients need
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"if-none-match"]
        job_id = UUID(target[len("/v1/jobs/") :][:36].decode())
        responses: RenderedResponses = scope["state"]["rendered"]
        with responses.rendering(target, job_id) as keep:
            await self._app(scope, receive, collect)
            source = scope["state"].get("rendered_from")
            if source is not None:
                start, *parts = messages
                body = b"".join(part.get("body", b"") for part in parts)
                rendered = Rendered(source, tuple(start["headers"]), body, scope["route"])
                keep(rendered)
        if source is not None:
            await _respond(send, rendered, tags)
            return
        for message in messages:
            await send(message)


def _target(scope: Scope) -> bytes | None:
    """Return the target of a plain GET of a job, its metrics or evaluation, or None for other requests."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path, query = scope["raw_path"], scope["query_string"]
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    if not query:
        return bytes(path)
    return b"%b?%b" % (path, query) if match[2] == b"/metrics" and _METRICS_QUERY.fullmatch(query) else None


async def _checked(scope: Scope, target: bytes) -> Rendered | None:
    responses: RenderedResponses = scope["state"]["rendered"]
    try:
        return await responses.checked(target)
    except SQLAlchemyError as error:
        auth.report_later(scope, error)
        return None


def _is_outdated(rendered: Rendered, tags: bytes | None) -> bool:
    """Return whether the client knows a newer version of the job, such as by the response to its change."""
    if tags is None or tags == rendered.etag:
        return False
    return any(int(version) > rendered.source.version for version in _VERSIONS.findall(tags))


async def _respond(send: Send, rendered: Rendered, tags: bytes | None) -> None:
    status, headers, body = 200, rendered.headers, rendered.body
    if tags is not None and rendered.etag is not None and _matches(tags, rendered.etag):
        status, body = 304, b""
        headers = tuple(header for header in headers if header[0] in _HEADERS_OF_304)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _matches(tags: bytes, etag: bytes) -> bool:
    return tags == etag or is_current(tags.decode("latin-1"), etag.decode("latin-1"))
