"""Job counters grow as jobs are submitted, claimed and finished, and never fall."""

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.monitoring.job_counters import DurationHistogram, JobCounters, JobTotals
from shared.db.engine import Database
from shared.store import claims
from tests.support import queue_driver
from tests.support.factories import make_worker_info
from tests.support.fakes import FrozenClock
from tests.support.statements import ON_SQLITE, plan, selects


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Both kinds of database: they differ in which events can still appear."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def counters() -> JobCounters:
    return JobCounters()


def _failed(database: Database, at: datetime) -> UUID:
    """A job that was submitted at that moment, claimed 2 seconds later, and failed after 50 more."""
    clock = FrozenClock(at)
    job_id = queue_driver.submit(database, now=clock)
    clock.advance(2)
    claim = queue_driver.claim(database, job_id, lease_s=99, now=clock)
    clock.advance(50)
    queue_driver.fail(database, claim.attempt, now=clock)
    return job_id


def _totals(database: Database, counters: JobCounters) -> JobTotals:
    upto = counters.settle(database)
    return database.read(lambda session: counters.totals(session, upto))


def _ended(totals: JobTotals) -> list[int]:
    """How often each thing was counted that happens to a job that fails."""
    return [
        totals.submitted["train"],
        totals.finished["train", "failed", "internal"],
        totals.waits["train"].cumulative()[-1],
        totals.durations["train"].cumulative()[-1],
    ]


def test_waits_and_durations_are_summed(
    database: Database, counters: JobCounters, clock: FrozenClock
) -> None:
    for _ in range(2):
        _failed(database, clock.moment)
    totals = _totals(database, counters)
    assert totals.waits["train"].seconds == pytest.approx(4, abs=0.001)
    assert totals.durations["train"].seconds == pytest.approx(100, abs=0.001)


def test_job_is_counted_once_by_any_number_of_scrapes(
    database: Database, counters: JobCounters, clock: FrozenClock
) -> None:
    _failed(database, clock.moment)
    for _ in range(4):
        assert _ended(_totals(database, counters)) == [1] * 4


def test_new_jobs_are_added_to_the_counted_ones(
    database: Database, counters: JobCounters, clock: FrozenClock
) -> None:
    for number in range(3):
        _failed(database, clock.moment)
        assert _ended(_totals(database, counters)) == [number + 1] * 4


def test_job_of_a_slow_transaction_is_counted_once(postgresql: Database, counters: JobCounters) -> None:
    queue_driver.submit(postgresql)
    claim = partial(claims.claim, worker=make_worker_info(), owner="worker/1", lease_s=30)
    with Session(postgresql.engine) as slow:
        claim(slow, ["default"])
        later = [queue_driver.submit(postgresql) for _ in range(3)]
        seen = [_totals(postgresql, counters) for _ in range(2)]
        slow.commit()
    seen += [_totals(postgresql, counters) for _ in range(3)]
    assert [totals.submitted["train"] for totals in seen] == [1 + len(later)] * 5
    assert [sum(totals.waits["train"].buckets.values()) for totals in seen] == [0, 0, 1, 1, 1]


def test_counters_do_not_fall_when_a_job_is_deleted(
    database: Database, counters: JobCounters, clock: FrozenClock
) -> None:
    job_id = _failed(database, clock.moment - timedelta(minutes=5))
    _totals(database, counters)
    queue_driver.delete(database, job_id)
    assert _ended(_totals(database, counters)) == [1] * 4


def test_jobs_that_were_never_claimed_have_no_wait_and_no_duration(
    database: Database, counters: JobCounters
) -> None:
    queue_driver.submit(database)
    queue_driver.cancelled(database)
    totals = _totals(database, counters)
    assert (totals.submitted["train"], dict(totals.waits), dict(totals.durations)) == (2, {}, {})


def test_each_attempt_that_fails_or_is_lost_is_counted_once(
    database: Database, counters: JobCounters
) -> None:
    retried = queue_driver.running(database)
    queue_driver.fail(database, retried, retry_in_s=0)
    queue_driver.cancel(database, retried.job_id)  # in its queue, as its next attempt has not begun
    lost = queue_driver.running(database)
    queue_driver.expire(database, lost)
    queue_driver.cancel(database, lost.job_id)
    stopped = queue_driver.running(database)
    queue_driver.cancel(database, stopped.job_id)
    queue_driver.expire(database, stopped)
    assert dict(_totals(database, counters).attempts) == {"failed": 1, "lost": 2}


def test_transaction_that_is_run_again_counts_nothing_twice(
    database: Database, counters: JobCounters, clock: FrozenClock
) -> None:
    _failed(database, clock.moment)
    upto = counters.settle(database)
    totals_of_scrapes = database.read(lambda session: [counters.totals(session, upto) for _ in range(2)])
    assert [_ended(totals) for totals in totals_of_scrapes] == [[1] * 4] * 2


@ON_SQLITE
def test_new_events_are_selected_by_their_index(
    database: Database, counters: JobCounters, clock: FrozenClock
) -> None:
    _failed(database, clock.moment)
    upto = counters.settle(database)
    for statement in selects(database, lambda session: counters.totals(session, upto)):
        assert "ix_job_events_position (position>?" in plan(database, statement)


def test_duration_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = DurationHistogram()
    for seconds in (0.01, 0.011, 20_000.0):
        histogram.observe(seconds)
    assert histogram.cumulative() == [1, *[2] * 12, 3]
    assert histogram.seconds == pytest.approx(20_000.021)


def test_only_the_first_count_of_all_events_may_take_long(postgresql: Database) -> None:
    counters, limits = JobCounters(), []
    queue_driver.submit(postgresql)
    for _ in range(2):
        upto = counters.settle(postgresql)
        with postgresql.read_engine.connect() as connection, Session(connection) as session:
            counters.totals(session, upto)
            limits.append(session.scalar(text("SHOW transaction_timeout")))
    assert limits == ["0", "20s"]
