"""Monotonic job counters for Prometheus, which follow the log of events.

A process counts all events at its first scrape, and only new ones later. Events above the watermark, below
which no event can appear any more, are counted again at each scrape. A counter does not fall when jobs are
deleted.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session, aliased

from shared.db.clock import seconds_between
from shared.db.engine import Database
from shared.db.postgresql import lift_time_limit
from shared.db.tables import Attempt, Job, JobEvent
from shared.lifecycle import TERMINAL, AttemptOutcome, EventType
from shared.store import events

BUCKET_BOUNDS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
"""The inclusive upper bounds of a histogram's buckets; one more bucket has none."""

_ENDS = (EventType.RETRY_SCHEDULED, EventType.LEASE_EXPIRED, EventType.FAILED, EventType.CANCELLED)
_UNSUCCESSFUL = (AttemptOutcome.FAILED, AttemptOutcome.LOST)
_COUNTED = (EventType.SUBMITTED, *_ENDS, EventType.SUCCEEDED)


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
    """Counts of jobs' events.

    Attributes:
        submitted: the submitted jobs, by kind.
        attempts: the attempts that failed or were lost, by outcome.
        finished: the finished jobs, by kind, state and error code, which is empty if there is none.
        waits: the times from submission to the first claim, by kind.
        durations: of each finished job, the sum of its attempts' durations, by kind.
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
    """The counters of one process. One scrape at a time may use them."""

    def __init__(self) -> None:
        self._watermark = events.Watermark()
        self._settled = (JobTotals(), 0)  # the totals up to a position, and that position

    def settle(self, database: Database) -> int:
        """Return the position up to which a transaction that begins afterwards sees all events."""
        end = events.end(database, self._watermark)
        return self._settled[1] if end is None else end.position

    def totals(self, session: Session, upto: int) -> JobTotals:
        """Return the totals as of the session's snapshot.

        Args:
            upto: the position that `settle` returned before the snapshot was taken.
        """
        settled, position = self._settled
        if not position:
            lift_time_limit(session.connection())  # counting all events may take long
        if position < upto:
            settled, position = settled + _count(session, position, upto), upto
            self._settled = settled, position
        return settled + _count(session, position, None)


def _count(session: Session, after: int, upto: int | None) -> JobTotals:
    """Count the events after one position, up to and including another if it is given."""
    events_between = _counted().where(JobEvent.position > after)
    if upto is not None:
        events_between = events_between.where(JobEvent.position <= upto)
    totals = JobTotals()
    for row in session.execute(events_between):
        if row.type == EventType.SUBMITTED:
            totals.submitted[row.kind] += 1
        elif row.type == EventType.CLAIMED:
            totals.waits[row.kind].observe(float(row.wait_s))
        elif row.outcome is not None:
            totals.attempts[row.outcome] += 1
        if row.type in TERMINAL:
            totals.finished[row.kind, row.type, row.error_code or ""] += 1
            if row.duration_s is not None:
                totals.durations[row.kind].observe(row.duration_s)
    return totals


def _counted() -> Select[*tuple[Any, ...]]:
    """Return the SELECT of counted events, each with its job and the unsuccessful attempt that it ended."""
    earlier = aliased(JobEvent)
    # if a job is cancelled in its queue, an earlier event has already ended and counted the last attempt
    ended_before = select(earlier.seq).where(
        earlier.job_id == JobEvent.job_id,
        earlier.seq < JobEvent.seq,
        earlier.attempt == JobEvent.attempt,
        earlier.type.in_(_ENDS),
    )
    attempt = and_(
        Attempt.job_id == JobEvent.job_id,
        Attempt.number == JobEvent.attempt,
        Attempt.outcome.in_(_UNSUCCESSFUL),
        JobEvent.type.in_(_ENDS),
        ~ended_before.exists(),
    )
    is_first_claim = and_(JobEvent.type == EventType.CLAIMED, JobEvent.attempt == 1)
    wait_s = seconds_between(Job.created_at, Job.started_at).label("wait_s")
    return (
        select(JobEvent.type, Job.kind, Job.error_code, Job.duration_s, wait_s, Attempt.outcome)
        .join_from(JobEvent, Job, Job.id == JobEvent.job_id)
        .outerjoin(Attempt, attempt)
        .where(or_(JobEvent.type.in_(_COUNTED), is_first_claim))
        .execution_options(yield_per=1_000)
    )
