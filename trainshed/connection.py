"""An HTTP connection to one server, which retries requests and validates responses.

The code serves both clients as coroutines; with a `BlockingTransport` the coroutines never suspend.
"""

import logging
import re
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from random import uniform
from typing import Any, Protocol, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent
from pydantic import BaseModel, ValidationError

from shared.addresses import is_loopback, public
from shared.schemas import Problem
from trainshed import certificates
from trainshed.errors import ClientError, ServerUnreachable, TrainshedApiError, UnexpectedResponse, UsageError

M = TypeVar("M", bound=BaseModel)

CONNECT_TIMEOUT_S = 3.0

_FIRST_CONTACT_S = 2.0
_TOLD_AFTER_S = 2.0  # a longer wait is logged, once for each request
_FOLLOWERS_PATIENCE = 3  # factor of the patience while a job is followed: a restart may take a minute
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
_PROBLEM = "application/problem+json"

_log = logging.getLogger("trainshed")


class Transport(Protocol):
    """The means by which a connection sends requests and waits."""

    def request(self, method: str, path: str, **options: Any) -> httpx.Request:
        """Build a request without sending it; the options are those of `httpx.Client.build_request`."""

    async def send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Send a request and return the response; with `stream`, the caller reads and closes a success."""

    def events(self, response: httpx.Response) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield a response's server-sent events as they arrive, then close the response."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def close(self) -> None:
        """Close every connection."""


class BlockingTransport:
    """A transport whose coroutines never suspend: they block."""

    def __init__(self, http: httpx.Client, sleep: Callable[[float], None]) -> None:
        self._http = http
        self._sleep = sleep

    def request(self, method: str, path: str, **options: Any) -> httpx.Request:
        """Build a request without sending it."""
        return self._http.build_request(method, path, **options)

    async def send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Send a request and return the response; its body is read unless it is to be streamed."""
        response = self._http.send(request, stream=True)
        if not (stream and response.is_success):
            response.read()
        return response

    async def events(self, response: httpx.Response) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield a response's events, then close the response."""
        try:
            for event in EventSource(response).iter_sse():
                yield event
        finally:
            response.close()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)

    async def close(self) -> None:
        """Close every connection."""
        self._http.close()


class AsyncTransport:
    """A transport for an event loop."""

    def __init__(
        self, http: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]] | None = None
    ) -> None:
        if sleep is None:
            import asyncio  # imported here, since the blocking client does not need it

            sleep = asyncio.sleep
        self._http = http
        self._sleep = sleep

    def request(self, method: str, path: str, **options: Any) -> httpx.Request:
        """Build a request without sending it."""
        return self._http.build_request(method, path, **options)

    async def send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Send a request and return the response; its body is read unless it is to be streamed."""
        response = await self._http.send(request, stream=True)
        if not (stream and response.is_success):
            await response.aread()
        return response

    async def events(self, response: httpx.Response) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield a response's events, then close the response."""
        try:
            async for event in EventSource(response).aiter_sse():
                yield event
        finally:
            await response.aclose()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._sleep(seconds)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()


class Connection:
    """A connection to a server.

    A request is retried when the server cannot be reached, is busy, or was stopped while it responded: for
    `patience_s` seconds once the server has responded to anything, for three times as long while a job is
    followed, and for two seconds before the first response, so that a wrong address is noticed soon. The
    server may thus execute a request more than once, so every request must be idempotent. A wait of more
    than two seconds is logged as a warning, which Python writes to stderr where logging is not configured.
    """

    def __init__(self, url: str, transport: Transport, *, patience_s: float) -> None:
        """Prepare to connect; `patience_s` is as in `trainshed.Client`."""
        self.url = public(url).rstrip("/")  # without secrets, since people see it
        self.transport = transport
        self._patience_s = patience_s
        self._reached = False
        self._followers = 0

    async def close(self) -> None:
        """Close every connection."""
        await self.transport.close()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Retry the requests of this block for longer, so that following a job outlasts a restart."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1

    async def probe(self, path: str) -> httpx.Response | None:
        """Return the response to one GET, whatever its status, or None if the server does not respond."""
        try:
            return await self.transport.send(self.transport.request("GET", path))
        except httpx.TransportError:
            return None

    def read(self, schema: type[M], response: httpx.Response) -> M:
        """Return a response's body as an instance of the schema.

        Raises:
            UnexpectedResponse: the body does not match the schema.
        """
        try:
            return schema.model_validate_json(response.content)
        except ValidationError as error:
            raise self._unexpected(response) from error

    async def call(self, method: str, path: str, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request, with retries, and return the response.

        The path is relative to the server's URL; the options are those of `httpx.Client.build_request`. With
        `stream`, the caller must read and close the response.

        Raises:
            ServerUnreachable: no response, after all retries.
            TrainshedApiError: the server refused the request, or failed.
            UnexpectedResponse: the response is not Trainshed's.
        """
        began, pause_s, is_told = time.monotonic(), _FIRST_PAUSE_S, False
        while True:
            outcome = await self._attempt(method, path, stream, options)
            wait_s = max(pause_s * uniform(0.8, 1.2), _retry_after_s(outcome))
            if not _is_transient(outcome) or time.monotonic() - began + wait_s >= self._patience():
                break
            if not is_told and time.monotonic() - began + wait_s >= _TOLD_AFTER_S:
                is_told = True
                _log.warning("Waiting for the server at %s: %s.", self.url, self._why(outcome))
            await self.transport.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if isinstance(outcome, httpx.TransportError):
            raise ServerUnreachable(self.url, _reason(outcome)) from outcome
        if outcome.is_success or outcome.status_code == httpx.codes.NOT_MODIFIED:
            return outcome
        raise self._refusal(outcome)

    async def _attempt(
        self, method: str, path: str, stream: bool, options: dict[str, Any]
    ) -> httpx.Response | httpx.TransportError:
        request = self.transport.request(method, path, **options)
        if "opentelemetry.trace" in sys.modules:  # the caller is traced: the server continues its trace
            import_module("opentelemetry.propagate").inject(request.headers)
        try:
            response = await self.transport.send(request, stream=stream)
        except httpx.TransportError as error:
            return error
        self._reached = True
        return response

    def _patience(self) -> float:
        patience_s = self._patience_s * (_FOLLOWERS_PATIENCE if self._followers else 1)
        return patience_s if self._reached else min(patience_s, _FIRST_CONTACT_S)

    def _why(self, outcome: httpx.Response | httpx.TransportError) -> str:
        """Return why a request is retried."""
        if isinstance(outcome, httpx.TransportError):
            return _reason(outcome)
        try:
            return str(Problem.model_validate_json(outcome.content).detail)
        except (ValidationError, httpx.ResponseNotRead):
            return f"it returned {outcome.status_code}"

    def _refusal(self, response: httpx.Response) -> ClientError:
        try:
            return TrainshedApiError(Problem.model_validate_json(response.content))
        except ValidationError:
            return self._unexpected(response)

    def _unexpected(self, response: httpx.Response) -> UnexpectedResponse:
        request = response.request
        return UnexpectedResponse(
            f"{request.method} {public(str(request.url))} returned {response.status_code} with "
            f"{_media_type(response)} that is not Trainshed's. Is another program listening at {self.url}?"
        )


def http_options(url: str, api_key: str, timeout_s: float) -> dict[str, Any]:
    """Return the options of the httpx client for a server.

    Raises:
        UsageError: the URL is not a server's, or the certificates that the environment names cannot be read.
    """
    address = _parse(url.rstrip("/"))
    return {
        "base_url": address,
        "verify": certificates.trusted() if address.scheme == "https" else True,
        "headers": {"Authorization": f"Bearer {api_key}"} if api_key else None,
        "timeout": httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
        # a proxy that the environment names would lead away from this host
        "trust_env": not is_loopback(address.host),
    }


def _is_transient(outcome: httpx.Response | httpx.TransportError) -> bool:
    if isinstance(outcome, httpx.TransportError) or outcome.status_code in _TRANSIENT_STATUSES:
        return True
    # a server error without the API's explanation: the API was stopped while responding, or a proxy responded
    return outcome.is_server_error and _media_type(outcome) != _PROBLEM


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Type", "no content type")).partition(";")[0]


def _parse(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{public(url)!r} is not a URL: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise UsageError(f"{public(url)!r} is not a server's URL, such as http://127.0.0.1:8000")
    return address


def _retry_after_s(outcome: httpx.Response | httpx.TransportError) -> float:
    if isinstance(outcome, httpx.TransportError):
        return 0.0
    try:
        return max(0.0, float(outcome.headers.get("Retry-After", "0")))
    except ValueError:  # a date: the usual backoff serves as well
        return 0.0


def _reason(error: httpx.TransportError) -> str:
    words = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    return certificates.untrusted(error) or words[0].lower() + words[1:]
