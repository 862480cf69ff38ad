"""Streams of events from the server (server-sent events, HTML Living Standard, section 9.2)."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import httpx
from httpx_sse import EventSource, ServerSentEvent

from shared.schemas import JobEvent
from trainshed.connection import CONNECT_TIMEOUT_S, Connection

_READ_TIMEOUT_S = 40.0  # the server sends at least a comment every 15 seconds
_RECONNECT_DELAY_S = 0.5


class EventStream:
    """A stream of job events that reconnects, and resumes after the last event received.

    Attributes:
        last_event_id: the id of the last event received.
        ended: whether the server has ended the stream for good; if not, no stream gets through from it.
    """

    def __init__(self, connection: Connection, path: str, after: str, sleep: Callable[[float], None]) -> None:
        """Prepare to resume after the event with the id `after`; empty: begin where the server does."""
        self.last_event_id = after
        self.ended = False
        self._connection = connection
        self._path = path
        self._sleep = sleep

    def __iter__(self) -> Iterator[JobEvent]:
        """Yield each event once, in order, until the stream ends or a connection yields nothing."""
        alive = True
        while alive:
            alive = False
            for message in self._connect():
                alive = True
                if message.event == "end":
                    self.ended = True
                    return
                self.last_event_id = message.id or self.last_event_id
                if message.data:
                    yield JobEvent.model_validate_json(message.data)
            self._sleep(_RECONNECT_DELAY_S)

    def _connect(self) -> Iterator[ServerSentEvent]:
        """Yield what one connection receives until it is lost; nothing if the response is not a stream."""
        response = self._connection.call(
            "GET",
            self._path,
            stream=True,
            headers={"Last-Event-ID": self.last_event_id} if self.last_event_id else {},
            timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )
        with closing(response), suppress(httpx.TransportError):  # which httpx-sse's SSEError is too
            yield from EventSource(response).iter_sse()
