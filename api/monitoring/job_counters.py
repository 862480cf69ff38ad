"""Monotonic job counters for Prometheus.

A process counts all jobs at its first scrape, and then only what is new. A transaction becomes visible later
than the times that it writes, so the last minute is counted anew at each scrape, and only what is older is
kept. A counter does not fall when jobs are deleted.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, func, literal_column, select, type_coerce
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now, seconds_between
from shared.db.postgresql import lift_time_limit
from shared.db.tables import Attempt, Job, UtcDateTime

BUCKET_BOUNDS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
"""The inclusive upper bounds of a histogram's buckets; one more bucket has none."""

_UNSETTLED = timedelta(minutes=1)  # the database ends a transaction that writes sooner
# literals, because no partial index matches a bound parameter
_IS_UNSUCCESSFUL = Attempt.outcome.in_([literal_column("'failed'"), literal_column("'lost'")])
_IS_FIRST = Attempt.number == literal_column("1")
_BEGINNING, _END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass
class DurationHistogram:
    """A histogram of durations.

    Attributes:
        buckets: the number of durations in each bucket, by its index in `BUCKET_BOUNDS_S`.
        seconds: the sum of the durations.
    """

    buckets: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Add a duration."""
        self.buckets[bisect_left(BUCKET_BOUNDS_S, seconds)] += 1
        self.seconds += seconds

    def add(self, other: "DurationHistogram") -> None:
        """Add the durations of another histogram."""
        self.buckets.update(other.buckets)
        self.seconds += other.seconds

    def cumulative(self) -> list[int]:
        """Return the number of durations up to each bound, and the number of all of them."""
        return list(accumulate(self.buckets[index] for index in range(len(BUCKET_BOUNDS_S) + 1)))


def _histograms() -> defaultdict[str, DurationHistogram]:
    return defaultdict(DurationHistogram)


@dataclass
class JobTotals:
    """Counts of what happened to jobs.

    Attributes:
        submitted: by kind.
        attempts: those that failed or were lost, by outcome.
        finished: by kind, state and error code, which is empty if there is none.
        waits: from submission to the first claim, by kind.
        durations: from the first claim to the end, by kind.
    """

    submitted: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    finished: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    waits: defaultdict[str, DurationHistogram] = field(default_factory=_histograms)
    durations: defaultdict[str, DurationHistogram] = field(default_factory=_histograms)

    def __add__(self, other: "JobTotals") -> "JobTotals":
        total = JobTotals()
        for part in (self, other):
            total.submitted.update(part.submitted)
            total.attempts.update(part.attempts)
            total.finished.update(part.finished)
            for kind, histogram in part.waits.items():
                total.waits[kind].add(histogram)
            for kind, histogram in part.durations.items():
                total.durations[kind].add(histogram)
        return total


class JobCounters:
    """The counters of one process. Thread-safe."""

    def __init__(self) -> None:
        # replaced as a whole, so that no thread reads half of an update
        self._settled = (JobTotals(), _BEGINNING)

    def totals(self, session: Session, *, now: Now = database_now) -> JobTotals:
        """Return the totals as of the session's snapshot."""
        settled, since = self._settled
        until = session.execute(select(type_coerce(now(), UtcDateTime()))).scalar_one() - _UNSETTLED
        if since == _BEGINNING:
            lift_time_limit(session.connection())  # all jobs are counted
        if since < until:
            settled, since = settled + _count(session, since, until), until
            self._settled = settled, since
        return settled + _count(session, since, _END)


def _count(session: Session, since: datetime, until: datetime) -> JobTotals:
    """Count what happened at or after `since` and before `until`."""

    def happened(time: SQLColumnExpression[datetime | None]) -> ColumnElement[bool]:
        return and_(time >= since, time < until)

    totals = JobTotals()
    submitted = select(Job.kind, func.count()).where(happened(Job.created_at)).group_by(Job.kind)
    totals.submitted.update(dict(session.execute(submitted).all()))
    unsuccessful = select(Attempt.outcome, func.count()).where(
        _IS_UNSUCCESSFUL, happened(Attempt.finished_at)
    )
    for outcome, count in session.execute(unsuccessful.group_by(Attempt.outcome)):
        totals.attempts[str(outcome)] += count
    waits = select(Job.kind, seconds_between(Job.created_at, Job.started_at)).join_from(Attempt, Job)
    for kind, seconds in session.execute(waits.where(_IS_FIRST, happened(Attempt.started_at))):
        totals.waits[kind].observe(float(seconds))
    ends = select(Job.kind, Job.state, Job.error_code, Job.duration_s)
    for kind, state, code, duration_s in session.execute(ends.where(happened(Job.finished_at))):
        totals.finished[kind, state, code or ""] += 1
        if duration_s is not None:
            totals.durations[kind].observe(duration_s)
    return totals
