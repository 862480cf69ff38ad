import re
import socket
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.middleware import Middleware

from api.http import error_handlers
from api.http.middleware import MAX_BODY_BYTES, RequestContext, RequestTiming
from api.monitoring.prometheus import RequestTimes
from tests.support.servers import running_app
from tests.support.waiting import wait_until


@pytest.fixture
def times() -> RequestTimes:
    return RequestTimes()


@pytest.fixture
def client(times: RequestTimes) -> Iterator[httpx.Client]:
    """A client of a small app inside the middleware."""
    app = FastAPI(middleware=[Middleware(RequestContext), Middleware(RequestTiming, times)])
    error_handlers.install(app)

    @app.get("/fine")
    def fine() -> str:
        return "fine"

    @app.post("/length")
    def length(body: dict[str, str]) -> int:
        return len(body["text"])

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("the password is hunter2")

    @app.get("/cut")
    def cut() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"the beginning"
            raise RuntimeError("no end")

        return StreamingResponse(parts())

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    with running_app(app) as client:
        yield client


def test_every_response_has_a_request_id_of_its_own(client: httpx.Client) -> None:
    ids = {client.get(path).headers["X-Request-ID"] for path in ("/fine", "/fine", "/nowhere", "/broken")}

    assert len({UUID(request_id) for request_id in ids}) == 4


def test_request_id_of_the_client_is_kept(client: httpx.Client) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": "trace-7.a/b:c"})

    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "trace-7.a/b:c"


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "<script>", 'a"b', "\xe9"])
def test_malformed_request_id_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.get("/fine", headers={b"X-Request-ID": given.encode("latin-1")})

    assert UUID(answer.headers["X-Request-ID"])


def test_responses_forbid_sniffing_and_framing(client: httpx.Client) -> None:
    for path in ("/fine", "/nowhere", "/broken"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_unexpected_error_is_a_problem_that_reveals_nothing(client: httpx.Client) -> None:
    answer = client.get("/broken")

    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/internal"
    assert answer.json()["detail"].startswith("Internal server error. Report it with the `request_id`")
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


def test_response_that_breaks_off_is_a_protocol_error(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/cut")


@pytest.mark.parametrize("path", ["/raw", "/length"])
def test_a_client_that_leaves_amid_its_body_is_no_failed_request(
    client: httpx.Client, times: RequestTimes, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    def statuses() -> set[str]:
        return set(re.findall(r'status="(\d+)"', times.exposition().decode()))

    with _connected(client) as connection:
        connection.sendall(_post(path, length=100) + b'{"text"')
    wait_until(lambda: statuses() or "a request failed" in caplog.text, "the request has ended")

    assert statuses() == {"400"}
    assert "a request failed" not in caplog.text


@pytest.mark.parametrize("path", ["/raw", "/length"])
def test_a_body_that_does_not_arrive_is_refused(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("api.http.middleware.MAX_RECEIVE_S", 0.3)
    with _connected(client) as connection:
        connection.sendall(_post(path, length=100))
        answer = b""
        while not answer:  # what arrives does not extend it
            connection.sendall(b" ")
            answer = _received(connection)

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body has not arrived within 0.3 s" in answer
        assert b"connection: close" in answer.lower()


def _connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10)


def _post(path: str, *, length: int) -> bytes:
    headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    return f"POST {path} HTTP/1.1\r\n{headers}".encode()


def _received(connection: socket.socket) -> bytes:
    """What arrives within a twentieth of a second."""
    connection.settimeout(0.05)
    try:
        return connection.recv(2**16)
    except TimeoutError:
        return b""


def test_body_of_the_largest_size_is_accepted(client: httpx.Client) -> None:
    text = "x" * (MAX_BODY_BYTES - len('{"text":""}'))

    assert client.post("/length", json={"text": text}).json() == len(text)


def test_larger_body_is_refused(client: httpx.Client) -> None:
    answer = client.post("/length", json={"text": "x" * MAX_BODY_BYTES})

    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/body-too-large"


def test_larger_body_of_undeclared_length_is_refused(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"text":"'
        for _ in range(20):
            yield b"x" * (MAX_BODY_BYTES // 16)
        yield b'"}'

    answer = client.post("/length", content=chunks(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 413


def test_body_whose_declared_length_is_too_large_is_refused_before_it_is_received(
    client: httpx.Client,
) -> None:
    for length in (MAX_BODY_BYTES + 1, "9" * 5_000):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
            head = f"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode())
            assert connection.recv(12).split()[1] in (b"413", b"400")


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "identity, gzip", "br", "x" * 1_000])
def test_compressed_body_is_refused(client: httpx.Client, encoding: str) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}

    answer = client.post("/length", content=b'{"text": ""}', headers=headers)

    assert answer.status_code == 415
    assert answer.json()["type"] == "/problems/unsupported-encoding"
    assert "without the header `Content-Encoding`" in answer.json()["detail"]


def test_second_header_cannot_hide_that_a_body_is_compressed(client: httpx.Client) -> None:
    headers = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]

    assert client.post("/length", json={"text": ""}, headers=headers).status_code == 415


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_body_as_it_is_is_accepted(client: httpx.Client, encoding: str) -> None:
    assert client.post("/length", json={"text": ""}, headers={"Content-Encoding": encoding}).is_success
