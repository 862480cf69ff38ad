"""Finished jobs are counted by minute and state."""

from datetime import timedelta

from shared.db.engine import Database
from shared.schemas import Throughput
from shared.store import attempts, job_edits, throughput
from shared.store.transitions import AttemptFailure
from tests.support import factories, queue_driver
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import succeed_attempt

_FAILURE = AttemptFailure("internal", "it broke")


def _by_minute(database: Database, clock: FrozenClock, minutes: int) -> Throughput:
    return database.read(lambda session: throughput.by_minute(session, minutes, now=clock))


def _succeed(database: Database, clock: FrozenClock) -> None:
    attempt, model = queue_driver.running(database), factories.make_model()
    database.write(lambda session: succeed_attempt(session, attempt, model.produced, now=clock))


def _fail(database: Database, clock: FrozenClock) -> None:
    attempt = queue_driver.running(database)
    database.write(lambda session: attempts.fail(session, attempt, _FAILURE, retry_in_s=None, now=clock))


def _cancel(database: Database, clock: FrozenClock) -> None:
    job_id = queue_driver.submit(database)
    database.write(lambda session: job_edits.request_cancel(session, job_id, now=clock))


def test_each_minute_has_its_counts_and_empty_ones_are_zero(database: Database, clock: FrozenClock) -> None:
    begin = clock.moment.replace(second=0, microsecond=0)
    _succeed(database, clock)
    clock.advance(60)
    _fail(database, clock)
    _succeed(database, clock)
    _succeed(database, clock)
    clock.advance(120)
    _cancel(database, clock)
    queue_driver.running(database)
    queue_driver.submit(database)

    counted = _by_minute(database, clock, 5).data

    assert [minute.at for minute in counted] == [begin + timedelta(minutes=n) for n in range(-1, 4)]
    assert [(minute.succeeded, minute.failed, minute.cancelled) for minute in counted] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 1, 0),
        (0, 0, 0),
        (0, 0, 1),
    ]


def test_a_minute_begins_with_its_first_moment_and_ends_before_the_next(
    database: Database, clock: FrozenClock
) -> None:
    clock.moment = clock.moment.replace(second=0, microsecond=0)
    _cancel(database, clock)
    clock.advance(59.999)
    _cancel(database, clock)
    clock.advance(0.001)
    _cancel(database, clock)

    assert [minute.cancelled for minute in _by_minute(database, clock, 2).data] == [2, 1]
    assert [minute.cancelled for minute in _by_minute(database, clock, 1).data] == [1]
