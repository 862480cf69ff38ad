"""Responses that stream server-sent events: each is rendered once, for any number of clients."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Send

# FastAPI's `EventSourceResponse` is not used: it renders each event for each client, in four tasks with two
# queues

PING = b": ping\n\n"
"""The frame that is sent after a silence, so that proxies keep the stream open."""

PING_S = 15.0
"""Seconds of silence after which a ping is sent."""

_FRAME = {
    "type": "object",
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}


class EventStream(StreamingResponse):
    """A response of server-sent events, from an iterator whose chunks are one or several frames each."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        super().__init__(frames, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self.frames = frames

    async def stream_response(self, send: Send) -> None:
        """Send the frames until they end or the client disconnects."""
        async with aclosing(self.frames):
            await super().stream_response(send)


def documented_stream(*lines: str) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` of an operation that streams events, with these lines as the example."""
    content = {"itemSchema": _FRAME, "example": "\n".join(lines) + "\n\n"}
    return {200: {"content": {EventStream.media_type: content}}}
