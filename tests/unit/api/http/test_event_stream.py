import asyncio
from collections.abc import AsyncGenerator, Iterator
from threading import Event

import httpx
import pytest
from fastapi import FastAPI

from api.http.event_stream import EventStream
from tests.support.servers import running_app
from tests.support.streams import open_stream


@pytest.fixture
def ended() -> Event:
    """Set when the frames of `/stream` have ended."""
    return Event()


@pytest.fixture
def client(ended: Event) -> Iterator[httpx.Client]:
    app = FastAPI()

    @app.get("/stream")
    async def stream() -> EventStream:
        async def frames() -> AsyncGenerator[bytes]:
            try:
                yield b"event: one\ndata: 1\nid: 1\n\nevent: two\ndata: 2\nid: 2\n\n"
                await asyncio.Event().wait()
            finally:
                ended.set()

        return EventStream(frames())

    with running_app(app) as client:
        yield client


def test_frames_arrive_while_the_stream_is_open(client: httpx.Client) -> None:
    with open_stream(client, "/stream") as stream:
        assert [(event.event, event.data) for event in (next(stream), next(stream))] == [
            ("one", 1),
            ("two", 2),
        ]


def test_no_proxy_keeps_frames_back(client: httpx.Client) -> None:
    with client.stream("GET", "/stream") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert (response.headers["Cache-Control"], response.headers["X-Accel-Buffering"]) == (
            "no-cache",
            "no",
        )


def test_what_yields_the_frames_ends_with_its_client(
    client: httpx.Client, ended: Event, caplog: pytest.LogCaptureFixture
) -> None:
    with open_stream(client, "/stream") as stream:
        next(stream)
    assert ended.wait(10)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
