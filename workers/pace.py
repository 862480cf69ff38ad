"""The number of jobs that a pool process claims at once, so that short jobs share transactions."""

from collections import deque

from workers.marks import MAX_ATTEMPTS

MOMENT_S = 0.05
"""Seconds that jobs claimed together take in all, if each takes as long as the last ones did on average."""


class Pace:
    """Decides how many jobs a process claims next, from the durations of its last jobs and its last claim.

    The number at most doubles from claim to claim, and is 1 after a claim that returned fewer jobs than it
    requested, so that waiting processes share the few jobs that are queued.
    """

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=MAX_ATTEMPTS)
        self._found = 0

    @property
    def most(self) -> int:
        """The maximum number of jobs in the next claim."""
        if not self._seconds:
            return 1
        mean_s = sum(self._seconds) / len(self._seconds)
        return max(1, min(int(MOMENT_S / max(mean_s, 1e-6)), 2 * self._found, MAX_ATTEMPTS))

    def found(self, jobs: int, of: int) -> None:
        """Note how many jobs a claim returned, and how many (`of`) it requested."""
        self._found = jobs if jobs == of else 0

    def ended(self, seconds: float) -> None:
        """Note the duration of a job."""
        self._seconds.append(seconds)
