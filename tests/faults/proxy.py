"""A TCP proxy for a server that slows, slices, drops and cuts its traffic, and closes connections."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from queue import Queue
from time import monotonic
from typing import Self

_CHUNK = 65_536
_PENDING_CHUNKS = 64  # per connection; more are left in the kernel, which stops the server
_PIECE_S = 0.05  # a limited bandwidth is passed in pieces of at most so long

Upstream = Path | tuple[str, int]
"""The path of a server's UNIX socket, or its host and port."""


@dataclass(frozen=True)
class Link:
    """How a connection carries its bytes.

    Attributes:
        delay_s: how late each reply arrives; replies may be on their way at the same time.
        bytes_per_s: the most that passes in each direction.
        slice_bytes: the most that is passed at once, in each direction.
    """

    delay_s: float = 0.0
    bytes_per_s: float = inf
    slice_bytes: int = _CHUNK

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        """Yield the data in pieces, each with the seconds that it takes."""
        paced = _CHUNK if self.bytes_per_s == inf else max(1, int(self.bytes_per_s * _PIECE_S))
        size = min(self.slice_bytes, paced)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            yield piece, len(piece) / self.bytes_per_s


class Proxy:
    """Forwards every byte, until a fault is switched on.

    Attributes:
        port: where clients connect, on 127.0.0.1.
        link: how connections carry their bytes; it may be replaced at any time.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        delay_s: float = 0.0,
        bytes_per_s: float = inf,
        slice_bytes: int = _CHUNK,
    ) -> None:
        """Prepare to forward to a server, as if over the link that the other arguments describe."""
        self._upstream = upstream
        self.link = Link(delay_s, bytes_per_s, slice_bytes)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._forwarding = threading.Event()
        self._forwarding.set()
        self._closed = False
        self._connections: list[_Connection] = []
        self._is_cut: Callable[[bytes], bool] = lambda _: False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._listener.close()
        self.close_connections()
        self._forwarding.set()

    def drop_traffic(self) -> None:
        """Drop all traffic without closing any connection, as when a cable is pulled.

        Existing connections stay dead; new ones hang until `pass_new_connections`.
        """
        for connection in self._connections:
            connection.dead = True
        self._forwarding.clear()

    def pass_new_connections(self) -> None:
        """Forward the traffic of new connections again."""
        self._forwarding.set()

    def close_connections(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()
        self._connections = []

    def cut_replies_to(self, matches: Callable[[bytes], bool]) -> None:
        """Close a connection when the server replies to a request that matches; the reply is dropped."""
        self._is_cut = matches

    def _choose(self) -> Upstream:
        """Return the server for a new connection."""
        return self._upstream

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._closed:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._forwarding.wait()  # the kernel has accepted the connection; it hangs
        try:
            server = _connected(self._choose())
        except OSError:
            client.close()
            return
        connection = _Connection(client, server, lambda: self.link)
        self._connections.append(connection)
        for target in (
            lambda: connection.pass_requests(lambda data: self._is_cut(data)),
            connection.send_replies,
        ):
            threading.Thread(target=target, daemon=True).start()
        connection.receive_replies()


def _connected(upstream: Upstream) -> socket.socket:
    if not isinstance(upstream, Path):
        return socket.create_connection(upstream)
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(str(upstream))
    except OSError:
        server.close()
        raise
    return server


class _Connection:
    """A client's connection, and the connection to the server that serves it."""

    def __init__(self, client: socket.socket, server: socket.socket, link: Callable[[], Link]) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a slice is a packet
        self._client = client
        self._server = server
        self._link = link
        self._replies: Queue[tuple[float, bytes]] = Queue(_PENDING_CHUNKS)
        self._closed = threading.Event()
        self._cut_next = False
        self.dead = False

    def pass_requests(self, is_cut: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while data := self._client.recv(_CHUNK):
                if self.dead:
                    continue
                self._cut_next = self._cut_next or is_cut(data)
                self._send(self._server, data)
        self.close()

    def receive_replies(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(_CHUNK):
                if self._cut_next:
                    break
                self._replies.put((monotonic() + self._link().delay_s, data))
        self._replies.put((0.0, b""))

    def send_replies(self) -> None:
        with suppress(OSError):
            while (reply := self._replies.get())[1]:
                due, data = reply
                self._closed.wait(max(0.0, due - monotonic()))
                if not self.dead:
                    self._send(self._client, data)
        if not self.dead:
            self.close()

    def _send(self, end: socket.socket, data: bytes) -> None:
        for piece, seconds in self._link().pieces(data):
            if seconds:
                self._closed.wait(seconds)
            end.sendall(piece)

    def close(self) -> None:
        self._closed.set()
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
