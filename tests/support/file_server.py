"""An HTTP server on loopback that returns prepared responses, faulty ones too, and records requests."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from threading import Event, Thread
from typing import Any


@dataclass(frozen=True)
class Response:
    """A response to one request.

    Attributes:
        body: the file's bytes.
        status: the HTTP status. A 200 becomes a 206 if the request is for a range of this body.
        headers: those besides `Content-Length`; with an `ETag`, the body can be requested in ranges.
        pause_after: number of bytes that are sent before the server waits for `resume`.
        resume: the event that ends the pause; None: never, so that the client sees a stall.
        cut_after: number of bytes that are sent before the connection is closed.
        drip: the body is sent in pieces of so many bytes, with so many seconds after each.
        drips_headers: the status and the headers are sent in such pieces too.
        silent: nothing is sent at all.
        endless: the body is sent again and again, without a `Content-Length`.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause_after: int | None = None
    resume: Event | None = None
    cut_after: int | None = None
    drip: tuple[int, float] | None = None
    drips_headers: bool = False
    silent: bool = False
    endless: bool = False


@dataclass(frozen=True)
class Request:
    """A request that the server received: its path, and its headers under lower-case names."""

    path: str
    headers: Mapping[str, str]


class FileServer:
    """Each request gets the next of its path's responses; the last one is repeated."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closing = Event()
        self._responses: dict[str, list[Response]] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.respond(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False  # so that `server_close` waits for them
        self._thread = Thread(target=self._http.serve_forever, args=(0.02,))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}{path}"

    def serve(self, path: str, *responses: Response) -> str:
        """Set the responses for a path, and return its address."""
        self._responses[path] = list(responses)
        return self.url(path)

    def count(self, path: str) -> int:
        """How often a path was requested."""
        return sum(request.path == path for request in self.requests)

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(Request(handler.path, headers))
        responses = self._responses.get(handler.path, [Response(status=404)])
        response = responses.pop(0) if len(responses) > 1 else responses[0]
        with suppress(OSError):  # the client has gone
            self._send(handler, response, _first_byte(response, headers))

    def _send(self, handler: BaseHTTPRequestHandler, response: Response, first: int) -> None:
        if response.silent:
            self.closing.wait()
            return
        if response.drip and response.drips_headers:
            handler.wfile = _Dripping(handler.wfile, *response.drip, self.closing)
        body, size = response.body[first:], len(response.body)
        handler.send_response(206 if first else response.status)
        if first:
            handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        length = {} if response.endless else {"Content-Length": str(len(body))}
        for name, value in {**length, **response.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if response.drip:
            handler.wfile = _Dripping(handler.wfile, *response.drip, self.closing)
        if response.pause_after is not None:
            handler.wfile.write(body[: response.pause_after])
            (response.resume or self.closing).wait()
            body = b"" if self.closing.is_set() else body[response.pause_after :]
        while response.endless and not self.closing.is_set():
            handler.wfile.write(body)
        handler.wfile.write(body[: response.cut_after])

    def __enter__(self) -> "FileServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for response in (response for responses in self._responses.values() for response in responses):
            if response.resume is not None:
                response.resume.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Dripping(BufferedIOBase):
    """A file that writes slowly, until the server is closed."""

    def __init__(self, file: BufferedIOBase, piece: int, pause_s: float, closing: Event) -> None:
        self._file = file
        self._piece = piece
        self._pause_s = pause_s
        self._closing = closing

    def write(self, data: Any, /) -> int:
        content = bytes(data)
        for start in range(0, len(content), self._piece):
            if self._closing.is_set():
                raise BrokenPipeError("the server is closed")
            self._file.write(content[start : start + self._piece])
            self._closing.wait(self._pause_s)
        return len(content)


def _first_byte(response: Response, headers: Mapping[str, str]) -> int:
    byte_range = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
    same_body = response.status == 200 and response.headers.get("ETag") == headers.get("if-range")
    return int(byte_range[1]) if byte_range and same_body else 0


@contextmanager
def running_file_server() -> Iterator[FileServer]:
    """Run a file server; its threads have ended when the context is left."""
    with FileServer() as server:
        yield server
