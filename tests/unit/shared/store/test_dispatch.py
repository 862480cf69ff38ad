"""Sending hints, and what happens where that fails half way."""

from uuid import UUID

import pytest
from sqlalchemy import select

from shared.broker import BrokerUnavailable, Hint
from shared.db.engine import Database
from shared.db.tables import Job
from shared.store import dispatch
from tests.support.factories import claimed, submitted
from tests.support.fakes import RecordingSender


class _SenderThatBreaks(RecordingSender):
    """Takes so many hints and then no more."""

    def __init__(self, takes: int) -> None:
        super().__init__()
        self.takes = takes

    def send(self, hint: Hint) -> None:
        self.available = len(self.sent) < self.takes
        super().send(hint)


def _hints(database: Database, count: int) -> list[Hint]:
    return [Hint(submitted(database), "default", "normal") for _ in range(count)]


def _undispatched(database: Database) -> list[UUID]:
    unsent = select(Job.id).where(Job.dispatched_at.is_(None)).order_by(Job.id)
    return database.read(lambda session: list(session.scalars(unsent)))


def test_every_hint_is_sent_in_order(database: Database) -> None:
    hints, sender = _hints(database, 3), RecordingSender()
    assert dispatch.send(database, sender, hints) is None
    assert sender.sent == hints
    assert _undispatched(database) == []


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_what_could_not_be_sent_is_marked_to_be_sent_later(database: Database, taken: int) -> None:
    hints, sender = _hints(database, 3), _SenderThatBreaks(taken)
    assert isinstance(dispatch.send(database, sender, hints), BrokerUnavailable)
    assert sender.sent == hints[:taken]
    assert _undispatched(database) == [hint.job_id for hint in hints[taken:]]


def test_a_job_that_was_claimed_meanwhile_is_left_alone(database: Database) -> None:
    # the broker took the message, and its answer was lost
    [hint] = _hints(database, 1)
    claimed(database, hint.job_id)
    dispatch.send(database, _SenderThatBreaks(0), [hint])
    assert _undispatched(database) == []


def test_nothing_to_send_needs_no_broker(database: Database) -> None:
    assert dispatch.send(database, _SenderThatBreaks(0), []) is None
