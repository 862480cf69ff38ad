"""The rate limit of each client: a leaky bucket (GCRA, ITU-T I.371), in memory."""

import threading
from collections.abc import Callable
from time import monotonic

_BURST_S = 10.0  # a client may send this many seconds' worth of requests at once
_MAX_CLIENTS = 10_000  # of each kind that are remembered; the others share one limit
_PRUNE_INTERVAL_S = 1.0
_OTHERS = "others"


class RateLimiter:
    """Limits the requests of each client to this process. Thread-safe.

    Those who are known, by a valid key, and strangers have nothing in common: no number of strangers takes a
    known client's requests.

    Attributes:
        per_second: requests a client may send on average; 0 is unlimited.
    """

    def __init__(self, per_second: float, *, now: Callable[[], float] = monotonic) -> None:
        self.per_second = per_second
        self._now = now
        self._lock = threading.Lock()
        self._known = _Arrivals()
        self._strangers = _Arrivals()

    def acquire(self, client: str, *, is_known: bool) -> float:
        """Count a request and return 0, or the seconds to wait if the client is over its limit."""
        if not self.per_second:
            return 0.0
        with self._lock:
            now = self._now()
            arrivals = self._known if is_known else self._strangers
            name = arrivals.name_for(client, now)
            arrival = max(now, arrivals.next.get(name, now)) + 1 / self.per_second
            if arrival - now > max(_BURST_S, 1 / self.per_second):
                return arrival - now - _BURST_S
            arrivals.next[name] = arrival
            return 0.0


class _Arrivals:
    """GCRA's theoretical arrival time of the next request of each client of a kind."""

    def __init__(self) -> None:
        self.next: dict[str, float] = {}
        self._pruned_at = float("-inf")

    def name_for(self, client: str, now: float) -> str:
        """Return the name under which a client is counted: its own if there is room for it."""
        if client in self.next or len(self.next) < _MAX_CLIENTS:
            return client
        if now - self._pruned_at >= _PRUNE_INTERVAL_S:  # which takes a millisecond
            self._pruned_at = now
            self.next = {name: time for name, time in self.next.items() if time > now}
        return client if len(self.next) < _MAX_CLIENTS else _OTHERS
