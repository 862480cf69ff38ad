"""HTTP to one server: requests that are tried again while that may help, answers that are checked."""

import re
import time
from collections.abc import Callable
from random import uniform
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from shared.schemas import Problem
from shared.settings import is_loopback
from trainshed.errors import ClientError, ServerUnreachable, TrainshedApiError, UnexpectedAnswer, UsageError

M = TypeVar("M", bound=BaseModel)

_FIRST_CONTACT_S = 2.0
_CONNECT_S = 3.0
_PAUSE_S = (0.1, 2.0)  # the first pause between two tries, and the longest

_BUSY = frozenset({429, 502, 503, 504})


class _MayPass(Exception):
    """A failure that another try may cure."""

    def __init__(self, error: ClientError, retry_after_s: float = 0.0) -> None:
        self.error = error
        self.retry_after_s = retry_after_s


class Connection:
    """A server that is asked patiently.

    A call that meets a refused connection, or a server that is busy, is tried again: for `patience_s` seconds
    once the server has answered anything, and for two seconds before that, so that a wrong address is noticed
    soon. So it may be obeyed twice, and each must be one that does no harm then.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_s: float,
        timeout_s: float,
        api_key: str = "",
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], None],
    ) -> None:
        """Prepare to connect; the arguments are those of `Trainshed`."""
        self.url = url.rstrip("/")
        self._patience_s = patience_s
        self._sleep = sleep
        self._answered = False
        address = _parsed(self.url)
        self._http = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
            # a proxy that the environment names leads away from this host
            trust_env=not is_loopback(address.host),
            transport=transport,
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def probe(self, path: str) -> httpx.Response | None:
        """The answer to a GET, whatever it says; None if there is none. Asked once, and raises nothing."""
        try:
            return self._http.get(path)
        except httpx.TransportError:
            return None

    def read(self, schema: type[M], response: httpx.Response) -> M:
        """An answer's body.

        Raises:
            UnexpectedAnswer: it does not have that form.
        """
        try:
            return schema.model_validate_json(response.content)
        except ValidationError as error:
            raise self._unexpected(response) from error

    def call(self, method: str, path: str, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Ask once, and again while that may help.

        Args:
            method: HTTP's.
            path: from the server's URL on.
            stream: leave the answer's body to be read, and the answer to be closed, by the caller.
            options: httpx's.

        Raises:
            ServerUnreachable: it was in vain.
            TrainshedApiError: the server refused, or failed.
            UnexpectedAnswer: something else than Trainshed answered.
        """
        began, pause = time.monotonic(), _PAUSE_S[0]
        while True:
            try:
                return self._try(self._http.build_request(method, path, **options), stream)
            except _MayPass as failure:
                pause_s = max(pause * uniform(0.8, 1.2), failure.retry_after_s)
                patience_s = self._patience_s if self._answered else min(self._patience_s, _FIRST_CONTACT_S)
                if time.monotonic() - began + pause_s > patience_s:
                    raise failure.error from failure.__cause__
            self._sleep(pause_s)
            pause = min(2 * pause, _PAUSE_S[1])

    def _try(self, request: httpx.Request, stream: bool) -> httpx.Response:
        try:
            response = self._http.send(request, stream=True)
            if not (stream and response.is_success):
                response.read()
        except httpx.TransportError as error:
            raise _MayPass(ServerUnreachable(self.url, _reason(error))) from error
        self._answered = True
        if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
            return response
        refusal = self._refusal(response)
        if response.status_code in _BUSY:
            raise _MayPass(refusal, _retry_after_s(response))
        raise refusal

    def _refusal(self, response: httpx.Response) -> ClientError:
        try:
            return TrainshedApiError(Problem.model_validate_json(response.content))
        except ValidationError:
            return self._unexpected(response)

    def _unexpected(self, response: httpx.Response) -> UnexpectedAnswer:
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        return UnexpectedAnswer(
            f"{response.request.method} {response.request.url} was answered with {response.status_code} and "
            f"{kind} that is not Trainshed's. Is another program listening at {self.url}?"
        )


def _parsed(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is no URL: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise UsageError(f"{url!r} is no server's URL, such as http://127.0.0.1:8000")
    return address


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:  # a date: the usual pauses will do
        return 0.0


def _reason(error: httpx.TransportError) -> str:
    words = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    return words[0].lower() + words[1:]
