"""Sending hints to the broker, also when the broker fails after some of them."""

from uuid import UUID

import pytest
from sqlalchemy import select

from shared.broker import Hint
from shared.db.engine import Database
from shared.db.tables import Job
from shared.store import dispatch
from tests.support.factories import claimed, submitted
from tests.support.fakes import RecordingSender


class _FailingSender(RecordingSender):
    """Accepts a number of hints, and then fails."""

    def __init__(self, accepted: int) -> None:
        super().__init__()
        self._accepted = accepted

    def send(self, hint: Hint) -> None:
        self.available = len(self.sent) < self._accepted
        super().send(hint)


def _hints(database: Database, count: int) -> list[Hint]:
    return [Hint(submitted(database), "default", "normal") for _ in range(count)]


def _undispatched(database: Database) -> list[UUID]:
    unsent = select(Job.id).where(Job.dispatched_at.is_(None)).order_by(Job.id)
    return database.read(lambda session: list(session.scalars(unsent)))


def test_all_hints_are_sent_in_order(database: Database) -> None:
    hints, sender = _hints(database, 3), RecordingSender()
    assert dispatch.send(database, sender, hints)
    assert sender.sent == hints
    assert _undispatched(database) == []


@pytest.mark.parametrize("accepted", [0, 1, 2])
def test_hints_that_could_not_be_sent_are_logged_and_marked_undispatched(
    database: Database, caplog: pytest.LogCaptureFixture, accepted: int
) -> None:
    hints, sender = _hints(database, 3), _FailingSender(accepted)
    assert not dispatch.send(database, sender, hints)
    assert f"'jobs': {3 - accepted}" in caplog.text
    assert sender.sent == hints[:accepted]
    assert _undispatched(database) == [hint.job_id for hint in hints[accepted:]]


def test_a_job_claimed_before_the_failure_is_not_marked_undispatched(database: Database) -> None:
    # the broker accepted the message, and its reply was lost
    [hint] = _hints(database, 1)
    claimed(database, hint.job_id)
    dispatch.send(database, _FailingSender(0), [hint])
    assert _undispatched(database) == []


def test_sending_no_hints_succeeds_without_a_broker(database: Database) -> None:
    assert dispatch.send(database, _FailingSender(0), [])
