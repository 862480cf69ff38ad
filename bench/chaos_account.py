"""The account of a run of `bench.chaos`, from its records: jobs lost, jobs executed twice, and times."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_WINDOW_S = 2.0
_STEP_S = 0.1
_RECOVERED = 0.9


@dataclass(frozen=True)
class Submission:
    """The submission of a job and the system's answer; times are of the monotonic clock."""

    number: int
    sent_at: float
    answered_at: float
    accepted: bool


@dataclass(frozen=True)
class Span:
    """An interval of the monotonic clock."""

    start: float
    end: float


@dataclass(frozen=True)
class Account:
    """The outcome of a run's jobs.

    Attributes:
        lost: jobs that were accepted and not executed.
        twice: jobs that were executed more than once.
        gap_s: the longest time without an execution, from the fault's start to the end of the submissions.
        recovery_s: the time from the fault's end to the first two seconds in which 90 % as many jobs were
            executed as in two seconds before the fault; None without such seconds.
        slowest_s: the longest time from the sending of an accepted job to its first execution.
    """

    accepted: int
    refused: int
    lost: int
    twice: int
    gap_s: float
    recovery_s: float | None
    slowest_s: float


def read_submissions(path: Path) -> list[Submission]:
    """Read the record of a producer."""
    lines = (line.split() for line in path.read_text().splitlines())
    return [Submission(int(a), float(b), float(c), d == "1") for a, b, c, d in lines]


def read_executions(paths: Iterable[Path]) -> list[tuple[float, int]]:
    """Read executors' records: the time and the job's number of each execution, in order of time."""
    lines = [line.split() for path in paths if path.exists() for line in path.read_text().splitlines()]
    return sorted((float(at), int(number)) for number, at in lines)


def unexecuted(submissions: Sequence[Submission], executions: Sequence[tuple[float, int]]) -> set[int]:
    """Return the jobs that were accepted and not executed."""
    return {each.number for each in submissions if each.accepted} - {number for _, number in executions}


def account(
    submissions: Sequence[Submission],
    executions: Sequence[tuple[float, int]],
    before: Span,
    fault: Span,
    end: float,
) -> Account:
    """Return the account of a run whose producer was stopped at `end`."""
    accepted = [each for each in submissions if each.accepted]
    first = {number: at for at, number in reversed(executions)}
    waits = [first[each.number] - each.sent_at for each in accepted if each.number in first]
    times = [at for at, _ in executions]
    return Account(
        len(accepted),
        len(submissions) - len(accepted),
        len(unexecuted(submissions, executions)),
        sum(count > 1 for count in Counter(number for _, number in executions).values()),
        _gap(times, Span(fault.start, end)),
        _recovery(times, before, Span(fault.end, end)),
        max(waits, default=0.0),
    )


def _gap(times: Sequence[float], span: Span) -> float:
    inside = [at for at in times if span.start < at < span.end]
    return max(later - earlier for earlier, later in pairwise([span.start, *inside, span.end]))


def _recovery(times: Sequence[float], before: Span, after: Span) -> float | None:
    needed = _RECOVERED * _count(times, before.start, before.end) / (before.end - before.start) * _WINDOW_S
    for step in range(int((after.end - after.start - _WINDOW_S) / _STEP_S) + 1):
        start = after.start + step * _STEP_S
        if _count(times, start, start + _WINDOW_S) >= needed:
            return step * _STEP_S
    return None


def _count(times: Sequence[float], start: float, end: float) -> int:
    return bisect_left(times, end) - bisect_right(times, start)
