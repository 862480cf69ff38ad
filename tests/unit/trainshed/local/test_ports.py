"""TCP ports, free and in use."""

import socket
from collections.abc import Iterator

import pytest

from trainshed.errors import StackError
from trainshed.local import ports

HOST = "127.0.0.1"


@pytest.fixture
def port_in_use() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


def test_a_free_port_is_found() -> None:
    port = ports.find_free(HOST)
    assert ports.is_free(HOST, port)
    ports.require_free(HOST, port)


def test_a_port_in_use_is_not_free(port_in_use: int) -> None:
    assert not ports.is_free(HOST, port_in_use)


def test_a_port_in_use_is_refused_with_another_suggested(port_in_use: int) -> None:
    message = rf"port {port_in_use} on {HOST} cannot be used \(Address already in use\).*TRAINSHED_PORT=\d+$"
    with pytest.raises(StackError, match=message):
        ports.require_free(HOST, port_in_use)


def test_a_port_in_time_wait_is_free() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((HOST, port)) as client, listener.accept()[0] as served:
            served.close()  # the server ends it first, and its side stays in TIME_WAIT
            assert client.recv(1) == b""
    assert ports.is_free(HOST, port)
