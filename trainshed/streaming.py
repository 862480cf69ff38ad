"""Streams of events from the server (server-sent events, HTML Living Standard, section 9.2)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx
from httpx_sse import ServerSentEvent, SSEError

from shared.schemas import JobEvent
from trainshed.connection import CONNECT_TIMEOUT_S, Connection

_READ_TIMEOUT_S = 40.0  # the server sends at least a comment every 15 seconds
_RECONNECT_DELAY_S = 0.5
_MAX_LOST = 5  # consecutive connections lost before a message arrives, as while a server restarts


class EventStream:
    """A stream of job events that reconnects, and resumes after the last event received.

    Attributes:
        last_event_id: the id of the last event received.
        ended: whether the server has ended the stream for good; if it has not, no stream gets through.
    """

    def __init__(self, connection: Connection, path: str, after: str) -> None:
        """Prepare to resume after the event with the id `after`; if empty, begin where the server does."""
        self.last_event_id = after
        self.ended = False
        self._connection = connection
        self._path = path

    async def events(self) -> AsyncGenerator[JobEvent, None]:
        """Yield each event once, in order, until the stream ends or no stream gets through.

        A server whose database was restored from a backup begins again with the first event.
        """
        lost = 0
        while lost < _MAX_LOST:
            lost += 1
            try:
                async with aclosing(self._connect()) as messages:
                    async for message in messages:
                        lost = 0
                        if message.event == "end":
                            self.ended = True
                            return
                        self.last_event_id = message.id or self.last_event_id
                        if message.data and message.event not in ("reset", "steps"):
                            yield JobEvent.model_validate_json(message.data)
                if lost:  # the response has ended without a message
                    return
            except (httpx.ReadTimeout, SSEError):  # a proxy buffers the stream, or responds itself
                if lost:
                    return
            except httpx.TransportError:
                pass
            await self._connection.transport.sleep(_RECONNECT_DELAY_S * 2 ** max(lost - 1, 0))

    async def _connect(self) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield the messages of one connection until it ends.

        Raises:
            httpx.TransportError: the connection was lost, or the response is not a stream.
        """
        response = await self._connection.call(
            "GET",
            self._path,
            stream=True,
            headers={"Last-Event-ID": self.last_event_id} if self.last_event_id else {},
            timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )
        async with aclosing(self._connection.transport.events(response)) as messages:
            async for message in messages:
                yield message
