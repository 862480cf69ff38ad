"""Server-sent events as tests read them: block by block, over HTTP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Sent:
    """One event of a stream."""

    id: str
    event: str
    data: Any


@contextmanager
def open_stream(api: httpx.Client, path: str, last_id: str | None = None, **query: Any) -> Iterator["Stream"]:
    """A stream that is cut at the end of the block."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with api.stream("GET", path, headers=headers, params=query) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Stream(response)


class Stream:
    """What a server sends; `first_id` is there once something was read."""

    def __init__(self, response: httpx.Response) -> None:
        self.first_id = ""
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[Sent]:
        return self

    def __next__(self) -> Sent:
        """The next event."""
        while True:
            fields = self._block()
            self.first_id = self.first_id or fields.get("id", "")
            if "data" in fields:
                return Sent(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))

    def begin(self) -> str:
        """Read the stream's first block, and return the id in it."""
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
