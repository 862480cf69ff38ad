"""How many jobs a pool process claims at once: as many as take a moment, if its last ones were that short."""

from collections import deque

from workers.marks import MAX_ATTEMPTS

MOMENT_S = 0.05
"""How long jobs that are claimed together take, as far as the last ones tell."""


class Pace:
    """What the last jobs of a process took, and how many it found at once.

    The number at most doubles from claim to claim, and is 1 after one that found fewer than it asked for: so
    processes that wait share the few jobs that are there.
    """

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=MAX_ATTEMPTS)
        self._found = 0

    @property
    def most(self) -> int:
        """How many jobs are claimed next, at most."""
        if not self._seconds:
            return 1
        mean_s = sum(self._seconds) / len(self._seconds)
        return max(1, min(int(MOMENT_S / max(mean_s, 1e-6)), 2 * self._found, MAX_ATTEMPTS))

    def found(self, jobs: int, of: int) -> None:
        """Note how many jobs a claim has found, of so many that it asked for."""
        self._found = jobs if jobs == of else 0

    def ended(self, seconds: float) -> None:
        """Note how long a job took."""
        self._seconds.append(seconds)
