"""What jobs add up to since the first one, however many there are: what Prometheus calls counters.

A process counts every job when it is first asked, and then only what is new. A transaction is seen later than
the times that it wrote say, so what happened in the last minute is counted each time anew, and what is older
is settled. A count does not fall when jobs are deleted.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate

from sqlalchemy import ColumnElement, func, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.db.clock import Now, database_now, seconds_between
from shared.db.tables import Job, UtcDateTime

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
"""Up to how many seconds the buckets of a `Spread` reach; the last one has no end."""

_UNSETTLED = timedelta(minutes=1)  # the database ends a transaction that stands still much sooner


@dataclass
class Durations:
    """How long something took.

    Attributes:
        buckets: how many times, by the place in `BOUNDS` that it fell under.
        seconds: in all.
    """

    buckets: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one time."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add(self, other: "Durations") -> None:
        """Count all that another one has counted."""
        self.buckets.update(other.buckets)
        self.seconds += other.seconds

    def cumulative(self) -> list[int]:
        """How many times it took no longer than each bound; and how many times in all."""
        return list(accumulate(self.buckets[place] for place in range(len(BOUNDS) + 1)))


@dataclass
class Counts:
    """What has happened to jobs.

    Attributes:
        submitted: by kind.
        finished: by kind, state and error code, which is empty where there is none.
        waits: from submit to the first claim, by kind.
        durations: from the first claim to the end, by kind.
    """

    submitted: Counter[str] = field(default_factory=Counter)
    finished: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    waits: defaultdict[str, Durations] = field(default_factory=lambda: defaultdict(Durations))
    durations: defaultdict[str, Durations] = field(default_factory=lambda: defaultdict(Durations))

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        total = Counts()
        for one in (self, other):
            total.submitted.update(one.submitted)
            total.finished.update(one.finished)
            for kind, spread in one.waits.items():
                total.waits[kind].add(spread)
            for kind, spread in one.durations.items():
                total.durations[kind].add(spread)
        return total


class JobCounters:
    """The totals that one process keeps; serves many threads at once."""

    def __init__(self) -> None:
        # replaced whole, so that no thread sees half of it
        self._settled: tuple[Counts, datetime | None] = (Counts(), None)

    def totals(self, session: Session, *, now: Now = database_now) -> Counts:
        """The totals as the session's transaction sees them."""
        settled, since = self._settled
        until = session.execute(select(type_coerce(now(), UtcDateTime()))).scalar_one() - _UNSETTLED
        if since is None or since < until:
            settled, since = settled.plus(_between(session, since, until)), until
            self._settled = settled, since
        return settled.plus(_between(session, since, None))


def _between(session: Session, since: datetime | None, until: datetime | None) -> Counts:
    """What happened from one moment on, and before another."""
    found = Counts()
    submitted = select(Job.kind, func.count()).where(*_within(Job.created_at, since, until))
    found.submitted.update(dict(session.execute(submitted.group_by(Job.kind)).all()))
    wait = seconds_between(Job.created_at, Job.started_at)
    for kind, seconds in session.execute(
        select(Job.kind, wait).where(*_within(Job.started_at, since, until))
    ):
        found.waits[kind].observe(float(seconds))
    ends = select(Job.kind, Job.state, Job.error_code, Job.duration_s)
    for kind, state, code, duration_s in session.execute(ends.where(*_within(Job.finished_at, since, until))):
        found.finished[kind, state, code or ""] += 1
        if duration_s is not None:
            found.durations[kind].observe(duration_s)
    return found


def _within(
    moment: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None],
    since: datetime | None,
    until: datetime | None,
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [moment.is_not(None)]
    if since is not None:
        conditions.append(moment >= since)
    if until is not None:
        conditions.append(moment < until)
    return conditions
