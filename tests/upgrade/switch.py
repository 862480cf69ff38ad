"""A load balancer of TCP connections: each new one leads to the next of the servers that are ready."""

import threading
from collections import deque

from tests.faults.proxy import Proxy, Upstream

Address = tuple[str, int]


class Switch(Proxy):
    """Forwards connections to the servers that were added and not removed, in turn."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._servers: deque[Address] = deque()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, server: Address) -> None:
        """Lead new connections to a server, too."""
        with self._lock:
            self._servers.append(server)

    def remove(self, server: Address) -> None:
        """Lead no new connection to a server; those that it has stay."""
        with self._lock:
            self._servers.remove(server)

    def _choose(self) -> Upstream:
        with self._lock:
            if not self._servers:
                raise ConnectionRefusedError("there is no server")
            self._servers.rotate()
            return self._servers[0]
