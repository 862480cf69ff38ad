"""A job's events as the server sends them (server-sent events, HTML Living Standard, part 9.2)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from uuid import UUID

import httpx

from client.connection import Connection
from shared.schemas import JobEvent

_CONNECT_S = 3.0
_SILENCE_S = 40.0  # the server says something every 15 seconds
_PAUSE_S = 0.5  # between two connections


class EventStream:
    """The events of a job, over as many connections as it takes.

    Attributes:
        seen: the number of the newest event that was given.
        ended: whether the server said that no more will come; if not, no stream comes through from it.
    """

    def __init__(
        self, connection: Connection, job_id: UUID, after: int, sleep: Callable[[float], None]
    ) -> None:
        """Prepare to connect; `after` is the number of an event that is known already."""
        self.seen = after
        self.ended = False
        self._connection = connection
        self._path = f"/v1/jobs/{job_id}/stream"
        self._sleep = sleep

    def __iter__(self) -> Iterator[JobEvent]:
        """Each event once, in order; stops at the end, or where a connection brings nothing at all."""
        alive = True
        while alive:
            alive = False
            for name, data in self._connect():
                alive = True
                if name == "end":
                    self.ended = True
                    return
                if data:
                    event = JobEvent.model_validate_json(data)
                    self.seen = event.seq
                    yield event
            self._sleep(_PAUSE_S)

    def _connect(self) -> Iterator[tuple[str, str]]:
        """The blocks that one connection brings until it is lost."""
        response = self._connection.call(
            "GET",
            self._path,
            stream=True,
            headers={"Last-Event-ID": str(self.seen)},
            timeout=httpx.Timeout(_SILENCE_S, connect=_CONNECT_S),
        )
        with closing(response), suppress(httpx.TransportError):
            if response.headers.get("Content-Type", "").startswith("text/event-stream"):
                yield from blocks(response.iter_lines())


def blocks(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The name and the data of each block of a stream; a block that was not sent whole is none."""
    name, data = "", list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        if not line:
            yield name, "\n".join(data)
            name, data = "", []
        elif field == "event":
            name = value.removeprefix(" ")
        elif field == "data":
            data.append(value.removeprefix(" "))
