"""The rate limit of each client: a leaky bucket (GCRA, ITU-T I.371), in memory.

`api.http.shared_rate_limit` adds the requests that other API processes have let through.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

_BURST_S = 10.0  # a client may send this many seconds' worth of requests at once
_UNSHARED_S = 1.0  # seconds' worth of a client's requests after which its count is shared at once
_MAX_CLIENTS = 10_000  # clients of each kind that have limits of their own; the others share one
_PRUNE_INTERVAL_S = 1.0
_OTHERS = "others"


class Taken(NamedTuple):
    """The requests of a client that were let through between two calls of `take`.

    Attributes:
        seconds: the time that the requests take at the rate of the limit.
        at: the time of the later call, by the limiter's clock.
    """

    client: str
    is_known: bool
    seconds: float
    at: float


class RateLimiter:
    """The limit of each client's requests to this process. For one event loop.

    Known clients, which have a valid key, and strangers are counted separately: no number of strangers can
    use up the requests of a known client.

    Attributes:
        per_second: requests a client may send on average; 0 is unlimited.
        burst_s: seconds' worth of requests that may come at once.
    """

    def __init__(self, per_second: float, *, now: Callable[[], float] = monotonic) -> None:
        self.per_second = per_second
        self.burst_s = max(_BURST_S, 1 / per_second) if per_second else 0.0
        self._now = now
        self._known = _Arrivals()
        self._strangers = _Arrivals()
        self._has_much_taken = asyncio.Event()

    def acquire(self, client: str, *, is_known: bool) -> float:
        """Count a request and return 0; if the client is over its limit, only return the seconds to wait."""
        if not self.per_second:
            return 0.0
        now = self._now()
        arrivals = self._known if is_known else self._strangers
        name = arrivals.name_for(client, now)
        arrival = max(now, arrivals.next.get(name, now)) + 1 / self.per_second
        if arrival - now > self.burst_s:
            return arrival - now - self.burst_s
        arrivals.next[name] = arrival
        taken = arrivals.taken[name] = arrivals.taken.get(name, 0) + 1
        if taken >= _UNSHARED_S * self.per_second:
            self._has_much_taken.set()
        return 0.0

    async def much_taken(self, timeout_s: float) -> None:
        """Wait until a client's requests since the last `take` are a second's worth, or for `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._has_much_taken.wait()

    def take(self) -> list[Taken]:
        """Return the requests of each client that were let through since the last call."""
        self._has_much_taken.clear()
        now = self._now()
        return [
            Taken(client, arrivals is self._known, count / self.per_second, now)
            for arrivals in (self._known, self._strangers)
            for client, count in arrivals.take()
        ]

    def share(self, taken: Taken, debt_s: float) -> None:
        """Count the requests of a client that other processes have let through.

        Args:
            taken: the client's requests to this process, from `take`.
            debt_s: the seconds from `taken.at` until the limit's rate has worked off the client's requests
                to all processes.
        """
        arrivals = self._known if taken.is_known else self._strangers
        if taken.client in arrivals.next:
            since = arrivals.taken.get(taken.client, 0) / self.per_second
            # never earlier than before, because Redis may have lost its data
            arrival = max(arrivals.next[taken.client], taken.at + debt_s + since)
            arrivals.next[taken.client] = arrival


class _Arrivals:
    """GCRA's theoretical arrival time of the next request of each client of a kind.

    Attributes:
        next: the arrival times, by client.
        taken: the number of requests that were let through since the last `take`, by client.
    """

    def __init__(self) -> None:
        self.next: dict[str, float] = {}
        self.taken: dict[str, int] = {}
        self._pruned_at = float("-inf")

    def name_for(self, client: str, now: float) -> str:
        """Return the name under which a client is counted: its own if there is room, else a shared one."""
        if client in self.next or len(self.next) < _MAX_CLIENTS:
            return client
        if now - self._pruned_at >= _PRUNE_INTERVAL_S:  # pruning takes a millisecond
            self._pruned_at = now
            self.next = {name: time for name, time in self.next.items() if time > now}
        return client if len(self.next) < _MAX_CLIENTS else _OTHERS

    def take(self) -> list[tuple[str, int]]:
        """Return the number of requests of each client that were let through since the last call."""
        taken, self.taken = self.taken, {}
        return list(taken.items())
