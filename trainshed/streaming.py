"""Events as the server sends them (server-sent events, HTML Living Standard, part 9.2)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import httpx

from shared.schemas import JobEvent
from trainshed.connection import Connection

_CONNECT_S = 3.0
_SILENCE_S = 40.0  # the server says something every 15 seconds
_PAUSE_S = 0.5  # between two connections


class EventStream:
    """Jobs' events, over as many connections as it takes.

    Attributes:
        seen: the id of the newest event that was given.
        ended: whether the server said that no more will come; if not, no stream comes through from it.
    """

    def __init__(self, connection: Connection, path: str, after: str, sleep: Callable[[float], None]) -> None:
        """Prepare to connect.

        Args:
            connection: to the server.
            path: of the stream.
            after: the id of an event that is known already; empty to begin where the server does.
            sleep: what passes the time between two connections.
        """
        self.seen = after
        self.ended = False
        self._connection = connection
        self._path = path
        self._sleep = sleep

    def __iter__(self) -> Iterator[JobEvent]:
        """Each event once, in order; stops at the end, or where a connection brings nothing at all."""
        alive = True
        while alive:
            alive = False
            for block in self._connect():
                alive = True
                if block.name == "end":
                    self.ended = True
                    return
                self.seen = block.id or self.seen
                if block.data:
                    yield JobEvent.model_validate_json(block.data)
            self._sleep(_PAUSE_S)

    def _connect(self) -> Iterator["Block"]:
        """The blocks that one connection brings until it is lost."""
        response = self._connection.call(
            "GET",
            self._path,
            stream=True,
            headers={"Last-Event-ID": self.seen} if self.seen else {},
            timeout=httpx.Timeout(_SILENCE_S, connect=_CONNECT_S),
        )
        with closing(response), suppress(httpx.TransportError):
            if response.headers.get("Content-Type", "").startswith("text/event-stream"):
                yield from blocks(response.iter_lines())


@dataclass(frozen=True)
class Block:
    """What a stream sends at once; a field that it leaves out is empty."""

    name: str
    data: str
    id: str


def blocks(lines: Iterable[str]) -> Iterator[Block]:
    """The blocks of a stream; one that was not sent whole is none."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        field, _, value = line.partition(":")
        if line:
            fields.setdefault(field, []).append(value.removeprefix(" "))
            continue
        name, block_id = (fields.get(one, [""])[-1] for one in ("event", "id"))
        yield Block(name, "\n".join(fields.get("data", ())), block_id)
        fields = {}
