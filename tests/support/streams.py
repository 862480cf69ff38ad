"""A reader of server-sent events over HTTP that is independent of the client's."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx


@dataclass(frozen=True)
class StreamEvent:
    """An event of a stream, its data decoded from JSON."""

    id: str
    event: str
    data: Any


@contextmanager
def open_stream(api: httpx.Client, path: str, last_id: str | None = None, **query: Any) -> Iterator["Stream"]:
    """Open a stream for the length of a `with` block; the test closes the connection at its end."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with api.stream("GET", path, headers=headers, params=query) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Stream(response)


class Stream:
    """The events of one response, read as they arrive.

    Attributes:
        first_id: the first id that the server sent; empty before anything was read.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.first_id = ""
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[StreamEvent]:
        return self

    def __next__(self) -> StreamEvent:
        """The next event."""
        while True:
            fields = self._block()
            self.first_id = self.first_id or fields.get("id", "")
            if "data" in fields:
                return StreamEvent(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))

    def read_first_id(self) -> str:
        """Read the stream's first block, which has an id and no data, and return the id."""
        self.first_id = self._block().get("id", "")
        return self.first_id

    def _block(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        raise StopIteration


def long_poll(api: httpx.Client, threads: ThreadPoolExecutor, job_id: UUID) -> Future[httpx.Response]:
    """A long poll for a job's next version."""
    path = f"/v1/jobs/{job_id}"
    tag = api.get(path).headers["ETag"]
    return threads.submit(api.get, path, params={"wait": 30}, headers={"If-None-Match": tag}, timeout=40)
