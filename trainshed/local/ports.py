"""TCP ports of this host: checks whether a port is free, and finds a free port."""

import socket
from typing import Any

from trainshed.errors import StackError


def require_free(host: str, port: int) -> None:
    """Raise a StackError that suggests another port unless a server can listen on this port."""
    if (error := _bind(host, port)) is not None:
        raise StackError(
            f"port {port} on {host} cannot be used ({error.strerror}): stop the program that uses it, "
            f"or choose another port, such as TRAINSHED_PORT={find_free(host)}"
        )


def is_free(host: str, port: int) -> bool:
    """Return whether a server can listen on the port."""
    return _bind(host, port) is None


def find_free(host: str) -> int:
    """Return a port that nothing listens on at the moment."""
    family, address = _address(host, 0)
    with socket.socket(family) as probe:
        probe.bind(address)
        return int(probe.getsockname()[1])


def _bind(host: str, port: int) -> OSError | None:
    try:
        family, address = _address(host, port)
        with socket.socket(family) as probe:
            # as the server does: a port in TIME_WAIT is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, address
