"""The proxy of the fault tests does to a connection what it says."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer, ThreadingUnixStreamServer
from threading import Thread
from time import monotonic

import pytest

from tests.faults.proxy import Link, Proxy, Upstream

DATA = bytes(range(256)) * 1_000


class Echo(BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65_536):
            self.request.sendall(data)


class TcpServer(ThreadingTCPServer):
    daemon_threads = True


class UnixServer(ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture(params=["TCP", "UNIX"])
def echo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Upstream]:
    """The address of a server that sends back what it receives."""
    path = tmp_path / "echo"
    server = TcpServer(("127.0.0.1", 0), Echo) if request.param == "TCP" else UnixServer(str(path), Echo)
    with server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield ("127.0.0.1", server.server_address[1]) if isinstance(server, TcpServer) else path
        server.shutdown()
        thread.join()


@contextmanager
def connected(proxy: Proxy, timeout: float = 20.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout) as client:
        yield client


def exchange(client: socket.socket, data: bytes) -> bytes:
    """Send data while its echo is received."""
    sender = Thread(target=client.sendall, args=[data])
    sender.start()
    received = b""
    while len(received) < len(data) and (part := client.recv(65_536)):
        received += part
    sender.join()
    return received


@pytest.mark.parametrize(
    "link", [Link(), Link(delay_s=0.01), Link(bytes_per_s=2e6), Link(slice_bytes=1_000), Link(0.01, 2e6, 999)]
)
def test_every_byte_passes_in_order(echo: Upstream, link: Link) -> None:
    with Proxy(echo) as proxy:
        proxy.link = link
        with connected(proxy) as client:
            assert exchange(client, DATA) == DATA


def test_a_delayed_reply_arrives_late_and_delays_no_other(echo: Upstream) -> None:
    with Proxy(echo, delay_s=0.3) as proxy, connected(proxy) as client:
        began = monotonic()
        assert exchange(client, b"one") == b"one"
        assert monotonic() - began >= 0.3
        began = monotonic()
        assert exchange(client, DATA * 4) == DATA * 4  # at least 16 chunks
        assert monotonic() - began < 16 * 0.3


def test_a_limited_bandwidth_takes_its_time(echo: Upstream) -> None:
    with Proxy(echo, bytes_per_s=100_000) as proxy, connected(proxy) as client:
        began = monotonic()
        assert exchange(client, DATA[:40_000]) == DATA[:40_000]
        assert monotonic() - began >= 0.4


def test_pieces_are_as_small_as_slices_and_bandwidth_demand() -> None:
    assert [piece for piece, _ in Link(slice_bytes=3).pieces(b"12345678")] == [b"123", b"456", b"78"]
    assert list(Link(bytes_per_s=1).pieces(b"ab")) == [(b"a", 1.0), (b"b", 1.0)]
    assert list(Link(bytes_per_s=100, slice_bytes=2).pieces(b"abc")) == [(b"ab", 0.02), (b"c", 0.01)]
    assert list(Link().pieces(b"")) == []


def test_a_link_that_becomes_slow_is_slow_for_existing_connections(echo: Upstream) -> None:
    with Proxy(echo) as proxy, connected(proxy, timeout=0.3) as client:
        assert exchange(client, b"one") == b"one"
        proxy.link = Link(delay_s=60)
        client.sendall(b"two")
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_dropped_traffic_leaves_connections_open_and_new_ones_hang(echo: Upstream) -> None:
    with Proxy(echo) as proxy, connected(proxy, timeout=0.2) as old:
        assert exchange(old, b"one") == b"one"
        proxy.drop_traffic()
        with connected(proxy, timeout=0.2) as new:
            for client in (old, new):
                client.sendall(b"two")
                with pytest.raises(TimeoutError):
                    client.recv(1)
            proxy.pass_new_connections()
            new.settimeout(20)
            assert new.recv(3) == b"two"
            with pytest.raises(TimeoutError):
                old.recv(1)


def test_a_connection_whose_request_matches_is_closed_in_place_of_the_reply(echo: Upstream) -> None:
    with Proxy(echo) as proxy:
        proxy.cut_replies_to(lambda data: b"COMMIT" in data)
        with connected(proxy) as cut, connected(proxy) as other:
            cut.sendall(b"COMMIT")
            assert cut.recv(10) == b""
            assert exchange(other, b"BEGIN") == b"BEGIN"


def test_connections_are_closed_at_once_even_if_they_are_slow(echo: Upstream) -> None:
    with Proxy(echo, bytes_per_s=4) as proxy, connected(proxy) as client:
        client.sendall(bytes(1_000))
        assert client.recv(1) == b"\0"
        began = monotonic()
        proxy.close_connections()
        while client.recv(1_000):
            pass
        assert monotonic() - began < 5


def test_a_server_that_is_not_there_closes_the_connection(tmp_path: Path) -> None:
    with Proxy(tmp_path / "nothing") as proxy, connected(proxy) as client:
        assert client.recv(1) == b""
