"""Responses that stream server-sent events: bytes that were rendered once go to any number of clients."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Send

# not FastAPI's `EventSourceResponse`, which renders each event for each client, in four tasks with two queues

PING = b": ping\n\n"
"""What is sent in silence, so that no proxy takes a stream for dead."""

PING_S = 15.0
"""After how much silence."""

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
    """A response of server-sent events, from an iterator of bytes that are one or several frames."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        super().__init__(frames, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self.frames = frames

    async def stream_response(self, send: Send) -> None:
        """Send the frames until they end, or the client has gone."""
        async with aclosing(self.frames):
            await super().stream_response(send)


def documented_stream(*lines: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI document of such a response, with an example of these lines."""
    content = {"itemSchema": _FRAME, "example": "\n".join(lines) + "\n\n"}
    return {200: {"content": {EventStream.media_type: content}}}
