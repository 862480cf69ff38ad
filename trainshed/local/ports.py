"""TCP ports of this host: whether one is free, and one that is."""

import socket
from typing import Any

from trainshed.errors import StackError


def require_free(host: str, port: int) -> None:
    """Raises StackError, with what to do, unless something can listen there."""
    if (error := _bind(host, port)) is not None:
        raise StackError(
            f"port {port} on {host} cannot be listened on ({error.strerror}): stop what uses it, or choose "
            f"another with TRAINSHED_PORT, such as TRAINSHED_PORT={find_free(host)}"
        )


def is_free(host: str, port: int) -> bool:
    """Whether something can listen there."""
    return _bind(host, port) is None


def find_free(host: str) -> int:
    """A port on which nothing listens at the moment."""
    family, address = _address(host, 0)
    with socket.socket(family) as probe:
        probe.bind(address)
        return int(probe.getsockname()[1])


def _bind(host: str, port: int) -> OSError | None:
    try:
        family, address = _address(host, port)
        with socket.socket(family) as probe:
            # as the server does: connections that have ended hold no port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, address
