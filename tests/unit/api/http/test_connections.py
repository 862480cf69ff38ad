"""What a client may send and hold without a key, over a connection of its own."""

import asyncio
import json
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from threading import Event

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response

from api.http import connections
from api.http.connections import MAX_HEAD_BYTES
from tests.support.servers import running_app
from tests.support.waiting import wait_until

GET = b"GET /fine HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /fine HTTP/1.1\r\nHost: localhost\r\n"
ENDS_WITHIN_S = 10.0
LARGE = 50 * 2**20  # more than the buffers of a connection

Connect = Callable[[], socket.socket]


@pytest.fixture
def may_end() -> Iterator[Event]:
    """Set when the app may respond to `/slow`."""
    event = Event()
    yield event
    event.set()


@pytest.fixture
def connect(may_end: Event) -> Iterator[Connect]:
    """Opens a connection to a small app; the test's connections are closed after it."""
    app = FastAPI()

    @app.api_route("/fine", methods=["GET", "POST"])
    async def fine(request: Request) -> str:
        return (await request.body()).decode()

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.to_thread(may_end.wait, 30)
        return "slow"

    @app.get("/large")
    async def large() -> Response:
        return Response(b"x" * LARGE)

    with running_app(app) as client, ExitStack() as opened:
        opened.callback(may_end.set)  # the server waits for its requests

        def connect() -> socket.socket:
            address = (client.base_url.host, client.base_url.port or 80)
            return opened.enter_context(closing(socket.create_connection(address, timeout=ENDS_WITHIN_S)))

        yield connect


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have half a second, and a second to read."""
    monkeypatch.setattr(connections, "_CHECK_S", 0.1)
    monkeypatch.setattr(connections, "MAX_HEAD_S", 0.5)
    monkeypatch.setattr(connections, "MAX_UNREAD_S", 1.0)


def _answer(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            received += part
    return received


def _send_until_closed(connection: socket.socket, part: bytes, most: int) -> int:
    """Send a part again and again; return how many bytes the server took before it closed the connection."""
    sent = 0
    with suppress(ConnectionError):
        while sent < most:
            connection.sendall(part)
            sent += len(part)
    return sent


@pytest.mark.parametrize(
    ("start", "part", "status"),
    [
        pytest.param(GET, b"X: " + b"x" * 1_000 + b"\r\n", 431, id="headers"),
        pytest.param(GET + b"X: ", b"x" * 1_000, 431, id="a header"),
        pytest.param(GET, b"Y: " + b"y" * 2**20 + b"\r\n", 431, id="headers at once"),
        pytest.param(b"GET /", b"x" * 1_000, 414, id="address"),
    ],
)
def test_a_head_without_an_end_is_refused_and_little_of_it_is_taken(
    connect: Connect, start: bytes, part: bytes, status: int
) -> None:
    connection = connect()
    connection.sendall(start)
    for _ in range(MAX_HEAD_BYTES // len(part) + 1):
        connection.sendall(part)

    head, _, body = _answer(connection).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in head
    assert (json.loads(body)["status"], "32,768 bytes" in json.loads(body)["detail"]) == (status, True)
    assert _send_until_closed(connection, b"x" * 2**16, LARGE) < LARGE


def test_a_head_of_nearly_the_largest_size_is_accepted_however_it_arrives(connect: Connect) -> None:
    padding = b"X: " + b"x" * (MAX_HEAD_BYTES - 200) + b"\r\n"
    body = b"y" * (3 * MAX_HEAD_BYTES)
    request = POST + padding + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    for size in (len(request), 4_096, MAX_HEAD_BYTES - 10):
        connection = connect()
        for start in range(0, len(request), size):
            connection.sendall(request[start : start + size])
        answer = _answer(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert body in answer


def test_the_trailers_of_a_body_have_the_limit_of_a_head(connect: Connect) -> None:
    connection = connect()
    connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")
    assert _send_until_closed(connection, b"X: " + b"x" * 1_000 + b"\r\n", LARGE) < LARGE


def test_requests_that_wait_for_the_response_to_an_earlier_one_are_few(connect: Connect) -> None:
    few = connect()
    few.sendall((GET + b"\r\n") * 5 + GET + b"Connection: close\r\n\r\n")
    assert _answer(few).count(b"HTTP/1.1 200 ") == 6

    many = connect()
    many.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n" + (GET + b"\r\n") * 200)
    assert _answer(many) == b""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\r\n", id="empty line"),
        pytest.param(GET + b"X: ", id="half a head"),
        pytest.param(GET + b"\r\n\r\n", id="a request and an empty line"),
        pytest.param(GET + b"\r\n" + GET, id="a request and half a head"),
        pytest.param(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", id="no body"),
    ],
)
def test_a_connection_on_which_no_head_arrives_ends(connect: Connect, sent: bytes) -> None:
    connection = connect()
    connection.sendall(sent)
    _answer(connection)


@pytest.mark.usefixtures("quick")
def test_a_head_that_arrives_byte_by_byte_ends_too(connect: Connect) -> None:
    connection = connect()
    connection.sendall(GET + b"X: ")
    connection.settimeout(0.05)

    def ended() -> bool:
        try:
            connection.sendall(b"x")
            return connection.recv(100) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    wait_until(ended, "the connection is closed", ENDS_WITHIN_S)


@pytest.mark.usefixtures("quick")
def test_a_request_that_is_being_answered_may_take_longer(connect: Connect, may_end: Event) -> None:
    connection, idle = connect(), connect()
    connection.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    _answer(idle)
    may_end.set()
    assert b'"slow"' in _answer(connection)


@pytest.mark.usefixtures("quick")
def test_a_client_that_reads_nothing_is_cut_off_and_one_that_reads_is_not(connect: Connect) -> None:
    idle, reading = connect(), connect()
    for connection in (idle, reading):
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert sum(iter(lambda: len(reading.recv(2**20)), 0)) > LARGE
    wait_until(lambda: _is_reset(idle), "the connection is reset", ENDS_WITHIN_S)


def _is_reset(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
    except ConnectionError:
        return True
    return False


def test_connections_beyond_the_limit_are_closed_and_logged_once_an_outage(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 10)

    def refusals() -> int:
        return sum("connections are refused" in record.getMessage() for record in caplog.records)

    def served(connection: socket.socket) -> bool:
        with suppress(ConnectionError):
            connection.sendall(GET + b"\r\n")
            return b"200 OK" in connection.recv(2**16)
        return False

    def hold() -> list[socket.socket] | None:
        held = [connect() for _ in range(10)]
        if all(map(served, held)):
            return held
        for connection in held:
            connection.close()
        return None

    for outage in (1, 2):
        held = wait_until(hold, "as many as may connect are served", ENDS_WITHIN_S)
        assert not any(served(connect()) for _ in range(5))
        assert refusals() == outage
        for connection in held:
            connection.close()


def test_connections_leave_descriptors_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {1_024: 640, 100: 50, resource.RLIM_INFINITY: 10_000, 10**6: 10_000}
    for soft, most in limits.items():
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        capacity = connections._Capacity()
        assert (capacity.admits(most), capacity.admits(most + 1)) == (True, False)
