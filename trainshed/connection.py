"""An HTTP connection to one server, which retries requests and validates responses."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import uniform
from typing import Any, TypeVar

import httpx
import tenacity
from pydantic import BaseModel, ValidationError

from shared.addresses import is_loopback, public
from shared.schemas import Problem
from trainshed.errors import ClientError, ServerUnreachable, TrainshedApiError, UnexpectedResponse, UsageError

M = TypeVar("M", bound=BaseModel)

CONNECT_TIMEOUT_S = 3.0

_FIRST_CONTACT_S = 2.0
_FOLLOWERS_PATIENCE = 3  # times that of other requests: a job may take hours, and a restart a minute
_TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
_PROBLEM = "application/problem+json"
_backoff = tenacity.wait_exponential(multiplier=0.1, max=2.0)


class Connection:
    """A connection to a server.

    A request is retried when the server cannot be reached, is busy, or was stopped while it responded: for
    `patience_s` seconds once the server has responded to anything, for three times as long while a job is
    followed, and for two seconds before the first response, so that a wrong address is noticed soon. The
    server may thus execute it more than once, so every request must be idempotent.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_s: float,
        timeout_s: float,
        api_key: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to connect, with the arguments of `trainshed.Client`."""
        self.url = public(url).rstrip("/")  # it is shown
        self._patience_s = patience_s
        self._reached = False
        self._followers = 0
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(httpx.TransportError)
            | tenacity.retry_if_result(_is_transient),
            wait=_wait_s,
            stop=self._is_out_of_patience,
            sleep=sleep,
            retry_error_callback=_last_outcome,
        )
        address = _parse(url.rstrip("/"))
        self._http = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            # a proxy that the environment names leads away from this host
            trust_env=not is_loopback(address.host),
            transport=transport,
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    @contextmanager
    def following(self) -> Iterator[None]:
        """In this block, requests are retried for longer: what follows a job outlasts a restart."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1

    def probe(self, path: str) -> httpx.Response | None:
        """Return the response to one GET, whatever its status, or None if the server does not respond."""
        try:
            return self._http.get(path)
        except httpx.TransportError:
            return None

    def read(self, schema: type[M], response: httpx.Response) -> M:
        """Return a response's body as an instance of the schema.

        Raises:
            UnexpectedResponse: it does not match the schema.
        """
        try:
            return schema.model_validate_json(response.content)
        except ValidationError as error:
            raise self._unexpected(response) from error

    def call(self, method: str, path: str, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request, with retries, and return the response.

        The path is relative to the server's URL; the options are those of `httpx.Client.build_request`. With
        `stream`, the caller must read and close the response.

        Raises:
            ServerUnreachable: no response, after all retries.
            TrainshedApiError: the server refused the request, or failed.
            UnexpectedResponse: the response is not Trainshed's.
        """
        try:
            response: httpx.Response = self._retrying(self._send, method, path, stream, options)
        except httpx.TransportError as error:
            raise ServerUnreachable(self.url, _reason(error)) from error
        if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
            return response
        raise self._refusal(response)

    def _send(self, method: str, path: str, stream: bool, options: dict[str, Any]) -> httpx.Response:
        response = self._http.send(self._http.build_request(method, path, **options), stream=True)
        if not (stream and response.is_success):
            response.read()
        self._reached = True
        return response

    def _is_out_of_patience(self, state: tenacity.RetryCallState) -> bool:
        patience_s = self._patience_s * (_FOLLOWERS_PATIENCE if self._followers else 1)
        if not self._reached:
            patience_s = min(patience_s, _FIRST_CONTACT_S)
        return tenacity.stop_before_delay(patience_s)(state)

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


def _is_transient(response: httpx.Response) -> bool:
    if response.status_code in _TRANSIENT_STATUSES:
        return True
    # an error that the API did not explain: it was stopped before it could, or a proxy responded
    return response.is_server_error and _media_type(response) != _PROBLEM


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Type", "no content type")).partition(";")[0]


def _last_outcome(state: tenacity.RetryCallState) -> httpx.Response:
    """Return the response to the last try, or raise its error."""
    assert state.outcome is not None
    response: httpx.Response = state.outcome.result()
    return response


def _wait_s(state: tenacity.RetryCallState) -> float:
    assert state.outcome is not None
    retry_after_s = 0.0 if state.outcome.failed else _retry_after_s(state.outcome.result())
    return max(_backoff(state) * uniform(0.8, 1.2), retry_after_s)


def _parse(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{public(url)!r} is not a URL: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise UsageError(f"{public(url)!r} is not a server's URL, such as http://127.0.0.1:8000")
    return address


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:  # a date: the usual backoff serves as well
        return 0.0


def _reason(error: httpx.TransportError) -> str:
    words = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    return words[0].lower() + words[1:]
