"""TCP ports on loopback that simulate an unavailable server."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never sends a byte."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]


@contextmanager
def garbled_port() -> Iterator[int]:
    """A port that replies to everything with what is nearly Redis's protocol."""

    class Garbled(StreamRequestHandler):
        def handle(self) -> None:
            while self.request.recv(4_096):
                self.wfile.write(b"$abc\r\n*1\r\n")

    with ThreadingTCPServer(("127.0.0.1", 0), Garbled) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections; it is reserved, so that no other program listens on it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
