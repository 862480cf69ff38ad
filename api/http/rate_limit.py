"""The rate limit of each client: a leaky bucket (GCRA, ITU-T I.371), in memory.

`api.http.shared_rate_limit` adds what other API processes have let through.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

_BURST_S = 10.0  # a client may send this many seconds' worth of requests at once
_UNSHARED_S = 1.0  # seconds' worth of a client's requests of which other processes are told at once
_MAX_CLIENTS = 10_000  # of each kind that are remembered; the others share one limit
_PRUNE_INTERVAL_S = 1.0
_OTHERS = "others"


class Taken(NamedTuple):
    """What a client was let through since the last look.

    Attributes:
        seconds: the time that its requests take at the rate of the limit.
        at: on the limiter's clock, when this was counted.
    """

    client: str
    is_known: bool
    seconds: float
    at: float


class RateLimiter:
    """Limits the requests of each client to this process. For one event loop.

    Those who are known, by a valid key, and strangers have nothing in common: no number of strangers takes a
    known client's requests.

    Attributes:
        per_second: requests a client may send on average; 0 is unlimited.
        burst_s: how many seconds' worth of requests may come at once.
    """

    def __init__(self, per_second: float, *, now: Callable[[], float] = monotonic) -> None:
        self.per_second = per_second
        self.burst_s = max(_BURST_S, 1 / per_second) if per_second else 0.0
        self._now = now
        self._known = _Arrivals()
        self._strangers = _Arrivals()
        self._has_much_taken = asyncio.Event()

    def acquire(self, client: str, *, is_known: bool) -> float:
        """Count a request and return 0, or the seconds to wait if the client is over its limit."""
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
        """Wait until some client was let through a second's worth since the last look, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._has_much_taken.wait()

    def take(self) -> list[Taken]:
        """Return what each client was let through since the last look."""
        self._has_much_taken.clear()
        now = self._now()
        return [
            Taken(client, arrivals is self._known, count / self.per_second, now)
            for arrivals in (self._known, self._strangers)
            for client, count in arrivals.take()
        ]

    def share(self, taken: Taken, debt_s: float) -> None:
        """Count for a client what other processes have let through.

        Args:
            taken: what was taken here, and when.
            debt_s: the seconds, from then on, in which all that was let through anywhere is worked off.
        """
        arrivals = self._known if taken.is_known else self._strangers
        if taken.client in arrivals.next:
            since = arrivals.taken.get(taken.client, 0) / self.per_second
            # never earlier than before: a Redis that was emptied does not know what was let through
            arrival = max(arrivals.next[taken.client], taken.at + debt_s + since)
            arrivals.next[taken.client] = arrival


class _Arrivals:
    """GCRA's theoretical arrival time of the next request of each client of a kind.

    Attributes:
        next: these times.
        taken: how many requests of each client were let through since the last look.
    """

    def __init__(self) -> None:
        self.next: dict[str, float] = {}
        self.taken: dict[str, int] = {}
        self._pruned_at = float("-inf")

    def name_for(self, client: str, now: float) -> str:
        """Return the name under which a client is counted: its own if there is room for it."""
        if client in self.next or len(self.next) < _MAX_CLIENTS:
            return client
        if now - self._pruned_at >= _PRUNE_INTERVAL_S:  # which takes a millisecond
            self._pruned_at = now
            self.next = {name: time for name, time in self.next.items() if time > now}
        return client if len(self.next) < _MAX_CLIENTS else _OTHERS

    def take(self) -> list[tuple[str, int]]:
        """Return what was let through since the last look."""
        taken, self.taken = self.taken, {}
        return list(taken.items())
