"""The rate limit of each client: a leaky bucket (GCRA, ITU-T I.371), in memory."""

import threading
from collections.abc import Callable
from time import monotonic

_BURST_S = 10.0  # a client may send this many seconds' worth of requests at once
_MAX_CLIENTS = 10_000  # remembered before those below their limit are dropped


class RateLimiter:
    """Limits the requests of each client to this process. Thread-safe.

    Attributes:
        per_second: requests a client may send on average; 0 is unlimited.
    """

    def __init__(self, per_second: float, *, now: Callable[[], float] = monotonic) -> None:
        self.per_second = per_second
        self._now = now
        self._lock = threading.Lock()
        # GCRA's theoretical arrival time of each client's next request
        self._arrivals: dict[str, float] = {}

    def acquire(self, client: str) -> float:
        """Count a request and return 0, or the seconds to wait if the client is over its limit."""
        if not self.per_second:
            return 0.0
        with self._lock:
            now = self._now()
            arrival = max(now, self._arrivals.get(client, now)) + 1 / self.per_second
            if arrival - now > max(_BURST_S, 1 / self.per_second):
                return arrival - now - _BURST_S
            if len(self._arrivals) >= _MAX_CLIENTS:
                self._arrivals = {name: time for name, time in self._arrivals.items() if time > now}
            self._arrivals[client] = arrival
            return 0.0
