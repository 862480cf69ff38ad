"""Clients that poll an API over keep-alive connections, at little cost of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

Request = Callable[[], bytes]
Responded = Callable[[int, float, float], None]
"""Called with a response's status, the time of its request by `perf_counter`, and its milliseconds.

The status is 0 if the connection was closed instead.
"""


def get(path: str, *headers: str) -> bytes:
    """Return a GET request to this host."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: bench", "Accept: */*", *headers]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


@asynccontextmanager
async def polling(
    url: str, requests: list[Request], responded: Responded, *, period_s: float
) -> AsyncIterator[None]:
    """Poll over a connection for each of `requests` until the end of the block.

    Args:
        requests: functions that return the next request of a connection.
        period_s: seconds between two requests of a connection; if 0, each is sent after the last response.
    """
    loop, (host, _, port) = asyncio.get_running_loop(), urlsplit(url).netloc.partition(":")
    pollers = []
    for request in requests:
        create = partial(_Poller, request, responded, period_s)
        _, poller = await loop.create_connection(create, host, int(port))
        pollers.append(poller)
    for number, poller in enumerate(pollers):
        loop.call_later(period_s * number / len(pollers), poller.send)
    try:
        yield
    finally:
        for poller in pollers:
            poller.stop()


class _Poller(asyncio.Protocol):
    def __init__(self, request: Request, responded: Responded, period_s: float) -> None:
        self._request, self._responded, self._period_s = request, responded, period_s
        self._received, self._is_stopped, self._sent_at = b"", False, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._is_stopped:
            self._responded(0, self._sent_at, 0.0)

    def send(self) -> None:
        if not self._is_stopped:
            self._sent_at = perf_counter()
            self._transport.write(self._request())

    def stop(self) -> None:
        self._is_stopped = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        self._received = b""
        passed_s = perf_counter() - self._sent_at
        self._responded(int(head.split(None, 2)[1]), self._sent_at, 1_000 * passed_s)
        if self._period_s:
            asyncio.get_running_loop().call_later(max(0.0, self._period_s - passed_s), self.send)
        else:
            self.send()


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
