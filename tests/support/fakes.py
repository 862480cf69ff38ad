"""Fakes: clocks that a test moves, and a broker that records what it is sent."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, bindparam

from shared.broker import BrokerUnavailable
from shared.db.clock import database_now
from shared.db.tables import UtcDateTime


class FrozenClock:
    """A `shared.db.clock.Now` that moves only by `advance`."""

    def __init__(self, moment: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self.moment = moment

    def __call__(self, offset_s: float = 0.0, /) -> ColumnElement[datetime]:
        # read when the statement is executed, which may have been built before the clock moved
        offset = timedelta(seconds=offset_s)
        return bindparam(None, callable_=lambda: self.moment + offset, type_=UtcDateTime())

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class MovableClock:
    """The database's clock, shifted by `ahead_s` seconds."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self, offset_s: float = 0.0, /) -> ColumnElement[datetime]:
        return database_now(self.ahead_s + offset_s)


class RecordingWaker:
    """Wakes no worker up, and records for which jobs it was to do so.

    Attributes:
        woken: the number of jobs by queue, of each call.
        available: while it is False, `wake` raises BrokerUnavailable.
    """

    def __init__(self) -> None:
        self.woken: list[dict[str, int]] = []
        self.available = True

    def wake(self, jobs: Mapping[str, int]) -> None:
        if not self.available:
            raise BrokerUnavailable("the fake broker is down")
        self.woken.append(dict(jobs))


class MonotonicClock:
    """Replaces `time.monotonic` in a module; moves only by `advance`."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
