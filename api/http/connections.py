"""Client connections with limits of bytes, time and number, so that no proxy is needed for these limits.

Uvicorn's protocol limits neither the length nor the duration of a request's head (its line and headers), nor
the number of pipelined requests.
"""

import resource
from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.http.problems import unexplained
from shared import log

MAX_HEAD_BYTES = 32 * 2**10
"""The maximum bytes of a request's line and headers; browsers and proxies send 8 KiB at most by default."""

MAX_HEAD_S = 10.0
"""Seconds for a request's head to arrive, counted from the connection's opening or the previous response."""

MAX_UNREAD_S = 60.0
"""Seconds for which a client may read nothing of a pending response, like nginx's `send_timeout`."""

MAX_CONNECTIONS = 10_000
"""The maximum number of connections of a process; their heads take half a gigabyte at worst."""

_CHECK_S = 5.0  # seconds between a connection's checks, and so the greatest delay in enforcing a time limit
_MAX_PIPELINED = 16  # requests that wait for the response to an earlier one; usual clients do not pipeline
_RESERVED_DESCRIPTORS = (
    384  # file descriptors: 256 for webhooks, the others for the database, Redis and files
)
_PROBLEM_HEADERS = b"content-type: application/problem+json\r\nconnection: close\r\ncontent-length: "

_log = log.get_logger(__name__)


class _Capacity:
    """The limit of this process's connections; refusals are logged once until many connections have ended."""

    def __init__(self) -> None:
        self._is_full = False

    def admits(self, connections: int) -> bool:
        """Return whether this process may have this many connections."""
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limit = MAX_CONNECTIONS
        if soft != resource.RLIM_INFINITY:
            limit = min(limit, max(soft - _RESERVED_DESCRIPTORS, soft // 2))
        if connections > limit and not self._is_full:
            _log.warning(
                "connections are refused, there are as many as this process may have", connections=limit
            )
            self._is_full = True
        elif connections < limit * 0.9:
            self._is_full = False
        return connections <= limit


_capacity = _Capacity()


class Connection(HttpToolsProtocol):
    """A client's connection, closed when the client sends too much or does nothing for too long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = 0  # bytes received since the last complete head or part of a body
        self._check_timer: TimerHandle | None = None
        self._checked_cycle: Any = None
        self._head_awaited_at = self._progress_at = self.loop.time()
        self._unsent = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Accept a connection, or close it at once if there are too many."""
        super().connection_made(transport)
        if _capacity.admits(len(self.connections)):
            self._check_timer = self.loop.call_later(_CHECK_S, self._check)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the connection's timer and end its requests."""
        if self._check_timer is not None:
            self._check_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; refuse the connection if a head is too long or too many requests wait."""
        if len(data) <= MAX_HEAD_BYTES:
            self._parse(data)
            return
        for start in range(0, len(data), MAX_HEAD_BYTES):
            if self.transport.is_closing():
                return
            self._parse(data[start : start + MAX_HEAD_BYTES])

    def on_headers_complete(self) -> None:
        """Begin to answer a request."""
        self._unparsed = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body."""
        self._unparsed = 0
        super().on_body(body)

    def _parse(self, data: bytes) -> None:
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MAX_HEAD_BYTES or len(self.pipeline) > _MAX_PIPELINED:
            self._refuse()

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_answering:
            self.transport.abort()  # an error cannot be sent in the middle of a response
            return
        status, what = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "line and headers have"
        if not self.headers:
            status, what = HTTPStatus.REQUEST_URI_TOO_LONG, "address has"
        detail = f"the request's {what} more than {MAX_HEAD_BYTES:,} bytes"
        body = unexplained(status).problem(detail).model_dump_json(exclude_none=True).encode()
        length = str(len(body)).encode()
        self.transport.write(STATUS_LINE[status] + _PROBLEM_HEADERS + length + b"\r\n\r\n" + body)
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _check(self) -> None:
        """Close the connection if its client has done nothing for too long."""
        now = self.loop.time()
        if self._is_answering or self.cycle is not self._checked_cycle:
            self._checked_cycle, self._head_awaited_at = self.cycle, now
        elif now - self._head_awaited_at >= MAX_HEAD_S:
            self.transport.close()
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._progress_at = unsent, now
        elif now - self._progress_at >= MAX_UNREAD_S:
            self.transport.abort()  # `close` would wait until everything is sent
        self._check_timer = self.loop.call_later(_CHECK_S, self._check)
