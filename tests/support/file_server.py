"""An HTTP server on loopback that gives files as a test says, well or badly, and keeps what it was asked."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


@dataclass(frozen=True)
class Answer:
    """What the server says to one request.

    Attributes:
        body: the file's bytes.
        status: the HTTP status. A 200 becomes a 206 if a range of this very body is asked for.
        headers: besides `Content-Length`; an `ETag` makes the body one that can be asked for in ranges.
        pause_after: bytes that are sent before the server waits for `resume`.
        resume: what it waits for; None: for ever, so that the client sees a stall.
        cut_after: bytes that are sent before the connection is closed.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause_after: int | None = None
    resume: Event | None = None
    cut_after: int | None = None


@dataclass(frozen=True)
class Request:
    """What the server was asked: the path, and headers under lower-case names."""

    path: str
    headers: Mapping[str, str]


class FileServer:
    """Answers by path: each request takes the next of the path's answers, and the last stays."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closing = Event()
        self._answers: dict[str, list[Answer]] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False  # so that closing waits for them
        self._thread = Thread(target=self._http.serve_forever, args=(0.02,))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}{path}"

    def serve(self, path: str, *answers: Answer) -> str:
        """Set the answers for a path, and return its address."""
        self._answers[path] = list(answers)
        return self.url(path)

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(request.path == path for request in self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(Request(handler.path, headers))
        answers = self._answers.get(handler.path, [Answer(status=404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with suppress(OSError):  # the client has gone
            self._send(handler, answer, _first_byte(answer, headers))

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer, first: int) -> None:
        body, size = answer.body[first:], len(answer.body)
        handler.send_response(206 if first else answer.status)
        if first:
            handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if answer.pause_after is not None:
            handler.wfile.write(body[: answer.pause_after])
            (answer.resume or self.closing).wait()
            body = b"" if self.closing.is_set() else body[answer.pause_after :]
        handler.wfile.write(body[: answer.cut_after])

    def __enter__(self) -> "FileServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for answer in (answer for answers in self._answers.values() for answer in answers):
            if answer.resume is not None:
                answer.resume.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _first_byte(answer: Answer, headers: Mapping[str, str]) -> int:
    asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
    etag = answer.headers.get("ETag")
    return int(asked[1]) if asked and answer.status == 200 and etag == headers.get("if-range") else 0


@contextmanager
def running_file_server() -> Iterator[FileServer]:
    """A started server, whose threads have ended at the end."""
    with FileServer() as server:
        yield server
