"""Totals grow as jobs come, are claimed and end, and never fall."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from api.monitoring.job_counters import Counts, Durations, JobCounters
from shared.db.engine import Database
from shared.store import attempts, job_edits
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure
from tests.support import factories
from tests.support.fakes import FrozenClock
from tests.support.statements import ON_SQLITE, asked, plan

MINUTE_S = 60.0


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Both kinds of database: what is new is told by their times."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def tally() -> JobCounters:
    return JobCounters()


def _failed(database: Database, at: datetime) -> UUID:
    """A job that was submitted at that moment, claimed 2 seconds later, and failed after 50 more."""
    new, clock = factories.make_new_job(), FrozenClock(at)
    database.write(lambda session: submit_job(session, new, now=clock))
    clock.advance(2)
    worker = factories.make_worker_info()
    claim = database.write(
        lambda session: attempts.claim(
            session, new.id, worker=worker, owner="worker-1/1", lease_s=99, now=clock
        )
    )
    assert claim is not None
    clock.advance(50)
    failure = AttemptFailure("internal", "it broke")
    database.write(lambda session: attempts.fail(session, claim.attempt, failure, retry_in_s=None, now=clock))
    return new.id


def _totals(database: Database, tally: JobCounters, clock: FrozenClock) -> Counts:
    return database.read(lambda session: tally.totals(session, now=clock))


def _ended(totals: Counts) -> list[int]:
    """How often each thing was counted that happens to a job that fails."""
    return [
        totals.submitted["train"],
        totals.finished["train", "failed", "internal"],
        totals.waits["train"].cumulative()[-1],
        totals.durations["train"].cumulative()[-1],
    ]


def test_waits_and_durations_are_added_up(database: Database, tally: JobCounters, clock: FrozenClock) -> None:
    for _ in range(2):
        _failed(database, clock.moment)
    totals = _totals(database, tally, clock)
    assert totals.waits["train"].seconds == pytest.approx(4, abs=0.001)
    assert totals.durations["train"].seconds == pytest.approx(100, abs=0.001)


def test_a_job_is_counted_once_however_often_it_is_asked(
    database: Database, tally: JobCounters, clock: FrozenClock
) -> None:
    _failed(database, clock.moment)
    for seconds in (0.0, 1.0, MINUTE_S, 1.0, 10 * MINUTE_S):
        clock.advance(seconds)
        assert _ended(_totals(database, tally, clock)) == [1] * 4


def test_new_jobs_are_added_to_those_that_were_counted(
    database: Database, tally: JobCounters, clock: FrozenClock
) -> None:
    for number in range(3):
        _failed(database, clock.moment)
        assert _ended(_totals(database, tally, clock)) == [number + 1] * 4
        clock.advance(2 * MINUTE_S)


def test_what_is_seen_late_is_counted_all_the_same(
    database: Database, tally: JobCounters, clock: FrozenClock
) -> None:
    assert _ended(_totals(database, tally, clock)) == [0] * 4
    _failed(database, clock.moment - timedelta(seconds=30))  # by a transaction that took so long
    clock.advance(1)
    assert _ended(_totals(database, tally, clock)) == [1] * 4


def test_the_count_does_not_fall_when_a_job_is_deleted(
    database: Database, tally: JobCounters, clock: FrozenClock
) -> None:
    job_id = _failed(database, clock.moment - timedelta(minutes=5))
    _totals(database, tally, clock)
    database.write(lambda session: job_edits.delete_job(session, job_id))
    assert _ended(_totals(database, tally, clock)) == [1] * 4


def test_jobs_that_wait_or_were_never_claimed_have_no_wait_and_no_duration(
    database: Database, tally: JobCounters, clock: FrozenClock
) -> None:
    factories.submitted(database)
    factories.cancelled(database)
    totals = _totals(database, tally, clock)
    assert (totals.submitted["train"], dict(totals.waits), dict(totals.durations)) == (2, {}, {})


def test_a_transaction_that_is_run_again_counts_nothing_twice(
    database: Database, tally: JobCounters, clock: FrozenClock
) -> None:
    _failed(database, clock.moment - timedelta(minutes=5))
    found = database.read(lambda session: [tally.totals(session, now=clock) for _ in range(2)])
    assert [_ended(totals) for totals in found] == [[1] * 4] * 2


@ON_SQLITE
def test_what_is_new_is_found_by_indexes(database: Database, tally: JobCounters, clock: FrozenClock) -> None:
    for _ in range(30):
        _failed(database, clock.moment - timedelta(hours=1))
    _totals(database, tally, clock)
    _, *news = asked(database, lambda session: tally.totals(session, now=clock))
    used = [
        [name for name in ("by_created_at", "started_at", "finished_at") if f"ix_jobs_{name} " in plan_]
        for plan_ in (f"{plan(database, statement)} " for statement in news)
    ]
    assert used == [["by_created_at"], ["started_at"], ["finished_at"]]


def test_a_time_falls_under_the_first_bound_that_it_does_not_exceed() -> None:
    spread = Durations()
    for seconds in (0.01, 0.011, 20_000.0):
        spread.observe(seconds)
    assert spread.cumulative() == [1, *[2] * 12, 3]
    assert spread.seconds == pytest.approx(20_000.021)
