"""The turns of webhooks: the order in which they get deliveries, and how many at the same time.

Receivers that are slow, or do not answer, share separate slots, so that they delay only each other. A
receiver is slow if its last attempt was slow, or one in progress is. A receiver that is not known yet gets
only one delivery at first, which shows whether it is slow.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

QUICK_S = 0.5
"""Seconds within which a quick receiver answers."""

MAX_SENT_TO_ONE = 4
"""The maximum number of deliveries that are sent to a receiver at the same time."""

_MAX_QUICK, _MAX_SLOW = 32, 48
_MAX_SENT = 256  # deliveries in all; ones that become slow may exceed `_MAX_SLOW`, but not this number
_MAX_KNOWN = 10_000  # receivers that are remembered


@dataclass(eq=False)
class Attempt:
    """A delivery that is being sent.

    Attributes:
        answered_at: the time when the receiver answered, or the attempt was given up; None before that.
    """

    webhook_id: UUID
    began_at: float
    answered_at: float | None = None

    def is_slow(self, now: float) -> bool:
        """Return whether the attempt has taken longer than `QUICK_S`."""
        return (self.answered_at or now) - self.began_at > QUICK_S


class Turns:
    """The turns of webhooks in this process. For one event loop."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._sent: defaultdict[UUID, set[Attempt]] = defaultdict(set)
        self._tried_at: dict[UUID, float] = {}
        self._was_slow: dict[UUID, bool] = {}

    def in_order(self, webhooks: Iterable[UUID]) -> list[UUID]:
        """Return webhooks in the order of their turns: those that were tried least recently first."""
        return sorted(webhooks, key=lambda webhook_id: self._tried_at.get(webhook_id, 0.0))

    def free(self, webhook_id: UUID) -> int:
        """Return the number of deliveries that may be sent to a webhook now."""
        slow, total = 0, 0
        for each, attempts in self._sent.items():
            total += len(attempts)
            slow += len(attempts) if self._is_slow(each) else 0
        is_slow = self._is_slow(webhook_id)
        room = _MAX_SLOW - slow if is_slow else _MAX_QUICK - (total - slow)
        to_one = MAX_SENT_TO_ONE if is_slow or webhook_id in self._was_slow else 1
        return max(0, min(room, _MAX_SENT - total, to_one - len(self._sent.get(webhook_id, ()))))

    def begin(self, webhook_id: UUID) -> Attempt:
        """Record that a delivery is being sent; `answered` and then `end` must follow."""
        attempt = Attempt(webhook_id, self._clock())
        if len(self._tried_at) >= _MAX_KNOWN:
            self._tried_at.clear()
            self._was_slow.clear()
        self._tried_at[webhook_id] = attempt.began_at
        self._sent[webhook_id].add(attempt)
        return attempt

    def answered(self, attempt: Attempt) -> None:
        """Record that the receiver has answered, or that its time is over."""
        attempt.answered_at = self._clock()
        self._was_slow[attempt.webhook_id] = attempt.is_slow(attempt.answered_at)

    def end(self, attempt: Attempt) -> None:
        """Free the attempt's slot."""
        attempts = self._sent[attempt.webhook_id]
        attempts.discard(attempt)
        if not attempts:
            del self._sent[attempt.webhook_id]

    def _is_slow(self, webhook_id: UUID) -> bool:
        now = self._clock()
        return self._was_slow.get(webhook_id, False) or any(
            attempt.is_slow(now) for attempt in self._sent.get(webhook_id, ())
        )
