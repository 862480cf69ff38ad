"""Short jobs that a pool process has claimed together: run one by one, and reported together.

If one job turns out to be long, the scribe reports those that have ended and releases those that have not
begun, so that no job waits behind another for longer than two rounds of the scribe.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from shared.db.engine import Database
from shared.store import claims
from shared.store.transitions import AttemptId
from workers import outcomes
from workers.attempt_trace import AttemptTrace
from workers.outcomes import Outcome
from workers.pace import MOMENT_S
from workers.pending import PendingProgress

_LONG_S = 5 * MOMENT_S  # an attempt that takes longer holds up the others


@dataclass(frozen=True)
class Ran:
    """An executed attempt that is not reported yet."""

    claim: claims.Claim
    outcome: Outcome
    pending: PendingProgress
    trace: AttemptTrace

    def instead(self, error: Exception) -> "Ran":
        """Drop the pending progress; return a replacement to report after the database refused this one."""
        self.pending.drop()
        return replace(self, outcome=outcomes.instead_of(self.outcome, error))


Unload = Callable[[Database, Sequence[Ran], Sequence[AttemptId]], bool]
"""Reports attempts that have ended and releases those that have not begun; returns whether it succeeded."""


class Bundle:
    """Attempts that were claimed together. The thread that runs jobs and the scribe share the bundle."""

    def __init__(self, claimed: Sequence[claims.Claim], clock: Callable[[], float] = time.monotonic) -> None:
        self._claims = list(claimed)
        self._begun = 0
        self._ran: list[Ran] = []
        self._clock = clock
        self._claimed_at = self._began_at = clock()
        self._lock = Lock()

    @property
    def is_single(self) -> bool:
        """Whether the bundle has one attempt only."""
        return len(self._claims) == 1

    @property
    def has_begun(self) -> bool:
        """Whether an attempt of the bundle has begun."""
        return self._begun > 0

    def begin_next(self) -> tuple[int, claims.Claim] | None:
        """Begin the next attempt.

        Returns:
            The attempt's index in the bundle and its claim, or None if no further attempt may begin.
        """
        with self._lock:
            is_late = self._begun > 0 and self._clock() - self._claimed_at > _LONG_S
            if is_late or self._begun == len(self._claims):
                return None
            self._began_at, self._begun = self._clock(), self._begun + 1
            return self._begun - 1, self._claims[self._begun - 1]

    def ended(self, ran: Ran) -> float:
        """Add an ended attempt; return its duration in seconds."""
        with self._lock:
            self._ran.append(ran)
            return self._clock() - self._began_at

    def rest(self) -> tuple[list[Ran], list[AttemptId]]:
        """Remove and return the attempts to report and those that have not begun; `unload` skips them."""
        with self._lock:
            ran, waiting = self._ran, [claim.attempt for claim in self._claims[self._begun :]]
            self._ran, self._claims = [], self._claims[: self._begun]
            return ran, waiting

    def unload(self, unload: Unload, database: Database) -> None:
        """Unload the attempts that a long-running one holds up; the next attempt cannot begin meanwhile."""
        with self._lock:
            waiting = [claim.attempt for claim in self._claims[self._begun :]]
            if not (self._ran or waiting) or self._clock() - self._began_at < _LONG_S:
                return
            if unload(database, self._ran, waiting):
                self._ran, self._claims = [], self._claims[: self._begun]
