"""A TCP proxy for a server's UNIX socket that can drop and delay traffic, and close connections."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

_CHUNK = 65_536


class Proxy:
    """Forwards every byte, until a fault is switched on.

    Attributes:
        port: where clients connect, on 127.0.0.1.
    """

    def __init__(self, upstream: Path, *, delay_s: float = 0.0) -> None:
        """Prepare to forward to a socket, with a delay of each reply, as of a server that is far away."""
        self._upstream = upstream
        self._delay_s = delay_s
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

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._closed:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._forwarding.wait()  # the kernel has accepted the connection; it hangs
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._upstream))
        except OSError:
            client.close()
            return
        connection = _Connection(client, server, self._delay_s)
        self._connections.append(connection)
        threading.Thread(
            target=connection.pass_requests, args=[lambda data: self._is_cut(data)], daemon=True
        ).start()
        connection.pass_replies()


class _Connection:
    """A client's connection, and the connection to the server that serves it."""

    def __init__(self, client: socket.socket, server: socket.socket, delay_s: float) -> None:
        self._delay_s = delay_s
        self._client = client
        self._server = server
        self._cut_next = False
        self.dead = False

    def pass_requests(self, is_cut: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while data := self._client.recv(_CHUNK):
                if self.dead:
                    continue
                self._cut_next = self._cut_next or is_cut(data)
                self._server.sendall(data)
        self.close()

    def pass_replies(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(_CHUNK):
                if self._cut_next:
                    break
                if self._delay_s:
                    threading.Event().wait(self._delay_s)
                if not self.dead:
                    self._client.sendall(data)
        if not self.dead:
            self.close()

    def close(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
