"""A receiver of webhooks on loopback, in this process or one that tests kill: it records what it is sent."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request: its path, its headers under lower-case names, and its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class Receiver:
    """What a receiver is sent, and how it answers.

    Attributes:
        statuses: of the answers, one after another; the last one is repeated.
        headers: of every answer.
        may_answer: it does not answer before this is set.
    """

    received: list[Received] = field(default_factory=list)
    statuses: list[int] = field(default_factory=lambda: [204])
    headers: dict[str, str] = field(default_factory=dict)
    may_answer: Event = field(default_factory=Event)
    port: int = 0

    def __post_init__(self) -> None:
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def answer(self, request: Received) -> int:
        self.received.append(request)
        self.may_answer.wait(30)
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Run a receiver for the length of a `with` block."""
    receiver = Receiver()
    server = _server(receiver, 0)
    receiver.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _server(receiver: Receiver, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.answer(Received(self.path, headers, body)))
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return _Server(("127.0.0.1", port), Handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that `server_close` waits for them
    request_queue_size = 256  # connections that wait for this busy host are not refused


class _Journal(Receiver):
    """Appends each delivery to a file before it answers."""

    def answer(self, request: Received) -> int:
        with journal.open("a") as file:
            file.write(json.dumps([request.id, request.event["data"]["id"]]) + "\n")
        return super().answer(request)


if __name__ == "__main__":  # port, journal, and `silent` if it is not to answer
    journal = Path(sys.argv[2])
    kept = _Journal()
    if "silent" in sys.argv[3:]:
        kept.may_answer.clear()
    _server(kept, int(sys.argv[1])).serve_forever()
