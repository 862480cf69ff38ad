"""Fakes: a clock that a test moves, and a broker that records what it is sent."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, literal

from shared.broker import BrokerUnavailable, Hint
from shared.db.tables import UtcDateTime


class FrozenClock:
    """A `shared.db.clock.Now` that moves only by `advance`."""

    def __init__(self, moment: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self.moment = moment

    def __call__(self, offset_s: float = 0.0, /) -> ColumnElement[datetime]:
        return literal(self.moment + timedelta(seconds=offset_s), UtcDateTime())

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class RecordingSender:
    """Accepts hints as the broker does, and records them.

    Attributes:
        sent: every accepted hint, in order.
        available: while it is False, `send` raises BrokerUnavailable.
    """

    def __init__(self) -> None:
        self.sent: list[Hint] = []
        self.available = True

    def send(self, hint: Hint) -> None:
        if not self.available:
            raise BrokerUnavailable("the fake broker is down")
        self.sent.append(hint)
