"""A TCP proxy before a server's UNIX socket, which loses, holds and cuts what passes through it."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

_CHUNK = 65_536


class Proxy:
    """Passes bytes on until it is told to do worse.

    Attributes:
        port: where clients connect, on 127.0.0.1.
    """

    def __init__(self, upstream: Path) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._closed = False
        self._links: list[_Link] = []
        self._cuts: Callable[[bytes], bool] = lambda _: False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._listener.close()
        self.cut()
        self._open.set()

    def swallow(self) -> None:
        """From now on nothing passes, and nobody is told: as when a cable is pulled.

        What passes later are only connections that are made later.
        """
        for link in self._links:
            link.dead = True
        self._open.clear()

    def pass_again(self) -> None:
        """Let new connections work."""
        self._open.set()

    def cut(self) -> None:
        """Close every connection."""
        for link in self._links:
            link.close()
        self._links = []

    def cut_answers_to(self, matches: Callable[[bytes], bool]) -> None:
        """Close a connection once the server has answered to bytes that match; the answer does not pass."""
        self._cuts = matches

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._closed:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._open.wait()  # the kernel has accepted; nobody answers
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._upstream))
        except OSError:
            client.close()
            return
        link = _Link(client, server)
        self._links.append(link)
        threading.Thread(target=link.pass_requests, args=[lambda data: self._cuts(data)], daemon=True).start()
        link.pass_answers()


class _Link:
    """One client's connection."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._client = client
        self._server = server
        self._cut_next = False
        self.dead = False

    def pass_requests(self, cuts: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while data := self._client.recv(_CHUNK):
                if self.dead:
                    continue
                self._cut_next = self._cut_next or cuts(data)
                self._server.sendall(data)
        self.close()

    def pass_answers(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(_CHUNK):
                if self._cut_next:
                    break
                if not self.dead:
                    self._client.sendall(data)
        if not self.dead:
            self.close()

    def close(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
