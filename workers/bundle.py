"""Short jobs that a pool process has claimed together: run one by one, and reported together.

If one of them turns out to be long, the scribe reports those that have ended and gives back those that have
not begun: no job waits behind another for longer than two of its rounds.
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

_LONG_S = 5 * MOMENT_S  # one that takes longer holds up the others


@dataclass(frozen=True)
class Ran:
    """An attempt that has been executed, and is to be reported."""

    claim: claims.Claim
    outcome: Outcome
    pending: PendingProgress
    trace: AttemptTrace

    def instead(self, error: Exception) -> "Ran":
        """Return what is reported in place of this, without progress, when the database has refused it."""
        self.pending.drop()
        return replace(self, outcome=outcomes.instead_of(self.outcome, error))


Unload = Callable[[Database, Sequence[Ran], Sequence[AttemptId]], bool]
"""Reports attempts that have ended and gives back those that have not begun; returns whether it did."""


class Bundle:
    """Attempts that were claimed together. Two threads use it: that of the jobs, and the scribe."""

    def __init__(self, claimed: Sequence[claims.Claim], clock: Callable[[], float] = time.monotonic) -> None:
        self._claims = list(claimed)
        self._begun = 0
        self._ran: list[Ran] = []
        self._clock = clock
        self._claimed_at = self._began_at = clock()
        self._lock = Lock()

    @property
    def is_single(self) -> bool:
        """Whether it is one attempt only."""
        return len(self._claims) == 1

    @property
    def has_begun(self) -> bool:
        """Whether an attempt of it has begun."""
        return self._begun > 0

    def begin_next(self) -> tuple[int, claims.Claim] | None:
        """Return the number and the claim of the next attempt, which begins; None: none may begin."""
        with self._lock:
            is_late = self._begun > 0 and self._clock() - self._claimed_at > _LONG_S
            if is_late or self._begun == len(self._claims):
                return None
            self._began_at, self._begun = self._clock(), self._begun + 1
            return self._begun - 1, self._claims[self._begun - 1]

    def ended(self, ran: Ran) -> float:
        """Add an attempt that has ended; return the seconds that it took."""
        with self._lock:
            self._ran.append(ran)
            return self._clock() - self._began_at

    def rest(self) -> tuple[list[Ran], list[AttemptId]]:
        """Return what is to be reported, and what has not begun; nothing of it is unloaded from now on."""
        with self._lock:
            ran, waiting = self._ran, [claim.attempt for claim in self._claims[self._begun :]]
            self._ran, self._claims = [], self._claims[: self._begun]
            return ran, waiting

    def unload(self, unload: Unload, database: Database) -> None:
        """Unload what the attempt that runs holds up, if it takes long; the next one waits meanwhile."""
        with self._lock:
            waiting = [claim.attempt for claim in self._claims[self._begun :]]
            if not (self._ran or waiting) or self._clock() - self._began_at < _LONG_S:
                return
            if unload(database, self._ran, waiting):
                self._ran, self._claims = [], self._claims[: self._begun]
