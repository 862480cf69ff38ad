"""How many requests one holder of a key may make: a leaky bucket (GCRA, ITU-T I.371) for each, in memory."""

import threading
from collections.abc import Callable
from time import monotonic

_BURST_S = 10.0  # as many seconds' worth of requests may come at once
_MANY = 10_000  # as many holders are remembered before those that owe nothing are forgotten


class RateLimiter:
    """Counts the requests of each holder; each process of the API has its own.

    Attributes:
        per_second: requests that a holder may make, on average; 0: any number.
    """

    def __init__(self, per_second: float, *, now: Callable[[], float] = monotonic) -> None:
        self.per_second = per_second
        self._now = now
        self._lock = threading.Lock()
        self._paid_until: dict[str, float] = {}

    def take(self, holder: str) -> float:
        """Count a request; the seconds to wait before the next try, or 0 if this one may pass."""
        if not self.per_second:
            return 0.0
        with self._lock:
            now = self._now()
            paid_until = max(now, self._paid_until.get(holder, now)) + 1 / self.per_second
            if paid_until - now > max(_BURST_S, 1 / self.per_second):
                return paid_until - now - _BURST_S
            if len(self._paid_until) >= _MANY:
                self._paid_until = {name: until for name, until in self._paid_until.items() if until > now}
            self._paid_until[holder] = paid_until
            return 0.0
