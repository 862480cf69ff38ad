"""The order in which the jobs of queues are claimed: by priority with a head start, then by age."""

from datetime import timedelta
from functools import partial
from itertools import pairwise
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Job
from shared.schemas import Priority
from shared.store import attempts, job_queries, places, queues, recovery, waits
from shared.store.places import Rules
from shared.store.submissions import NewJobs
from shared.store.submit import submit_job, submit_jobs
from shared.store.transitions import AttemptFailure
from tests.support import factories, queue_driver, stored
from tests.support.fakes import FrozenClock
from tests.support.statements import ON_SQLITE, plan, recorded_statements, selects


def _submit(database: Database, clock: FrozenClock, **overrides: object) -> UUID:
    new = factories.make_new_job(**overrides)
    database.write(lambda session: submit_job(session, new, now=clock))
    return new.id


def _claim(database: Database, clock: FrozenClock, *queues: str) -> UUID | None:
    claim = queue_driver.claim_next(database, *queues, now=clock)
    return claim.attempt.job_id if claim else None


def _claim_all(database: Database, clock: FrozenClock, *queues: str) -> list[UUID]:
    claimed = []
    while job_id := _claim(database, clock, *queues):
        claimed.append(job_id)
    return claimed


def test_jobs_of_one_priority_are_claimed_in_the_order_of_their_submission(
    database: Database, clock: FrozenClock
) -> None:
    job_ids = []
    for _ in range(4):
        job_ids.append(_submit(database, clock))
        clock.advance(0.001)
    assert _claim_all(database, clock) == job_ids


def test_jobs_that_are_submitted_at_once_are_claimed_in_their_order(
    database: Database, clock: FrozenClock
) -> None:
    new = [factories.make_new_job() for _ in range(20)]
    database.write(lambda session: submit_jobs(session, [NewJobs(new)], now=clock))
    assert _claim_all(database, clock) == [job.id for job in new]


def test_jobs_of_higher_priority_are_claimed_first(database: Database, clock: FrozenClock) -> None:
    job_ids = [_submit(database, clock, priority=priority) for priority in reversed(Priority)]
    assert _claim_all(database, clock) == job_ids[::-1]


@pytest.mark.parametrize(("high", "low"), [*pairwise(Priority), (Priority.HIGH, Priority.LOW)])
def test_a_priority_gives_no_more_than_its_head_start(
    database: Database, clock: FrozenClock, high: Priority, low: Priority
) -> None:
    rules = Rules(urgent_s=30.0, high_s=20.0, low_s=15.0)
    head_start_s = round(rules.head_start_s(high) - rules.head_start_s(low))
    behind, ahead = (
        NewJobs([factories.make_new_job(priority=priority) for _ in range(jobs)])
        for priority, jobs in ((low, 1), (high, head_start_s + 5))
    )
    database.write(lambda session: submit_jobs(session, [behind, ahead], rules=rules, now=clock))
    assert _claim_all(database, clock).index(behind.id) == head_start_s


def test_a_job_that_is_not_due_does_not_hold_up_those_behind_it(
    database: Database, clock: FrozenClock
) -> None:
    first, second = _submit(database, clock), _submit(database, clock)
    stored.set_columns(database, first, scheduled_at=clock(5))
    assert _claim(database, clock) == second
    clock.advance(5)
    assert _claim(database, clock) == first


def test_a_retried_a_released_and_a_lost_job_keep_their_place(database: Database, clock: FrozenClock) -> None:
    job_ids = [_submit(database, clock) for _ in range(4)]
    before = [stored.job(database, job_id).place for job_id in job_ids]
    retried, released = (queue_driver.claim_next(database, now=clock, lease_s=60) for _ in range(2))
    assert queue_driver.claim_next(database, now=clock, lease_s=1) is not None
    assert retried is not None
    assert released is not None
    clock.advance(2)
    fail = partial(attempts.fail, failure=AttemptFailure("internal", "it broke"), retry_in_s=1, now=clock)
    database.write(lambda session: fail(session, retried.attempt))
    database.write(lambda session: attempts.release(session, released.attempt, now=clock))
    database.write(lambda session: recovery.reap(session, max_lost_attempts=3, lease_s=30.0, now=clock))
    clock.advance(1)
    assert [stored.job(database, job_id).place for job_id in job_ids] == before
    assert _claim_all(database, clock) == job_ids


def test_of_several_queues_the_job_that_has_waited_longest_is_next(
    database: Database, clock: FrozenClock
) -> None:
    names = (("a", "normal"), ("b", "low"), ("c", "high"), ("paused", "high"))
    a, b, c, _ = [_submit(database, clock, queue=queue, priority=Priority(name)) for queue, name in names]
    other = _submit(database, clock, queue="a", priority=Priority.LOW)
    database.write(lambda session: queues.pause(session, "paused"))
    claimed = _claim_all(database, clock, "empty", "paused", "a", "b", "c")
    assert claimed[:2] == [c, a]
    assert {*claimed[2:]} == {b, other}  # with the same place


def test_a_claim_that_is_run_again_finds_its_own_job(database: Database, clock: FrozenClock) -> None:
    first, second = _submit(database, clock), _submit(database, clock)
    claims = [queue_driver.claim_next(database, owner="worker-1/a", now=clock) for _ in range(2)]
    assert [claim.attempt.job_id for claim in claims if claim] == [first, first]
    assert _claim(database, clock) == second


def test_positions_are_those_of_the_order_of_claims(database: Database, clock: FrozenClock) -> None:
    job_ids = []
    for number in range(12):
        job_ids.append(_submit(database, clock, priority=list(Priority)[number % 3]))
        clock.advance(1_000)
    positions = {
        job_id: database.read(partial(job_queries.get, job_id=job_id, now=clock)).queue_position
        for job_id in job_ids
    }
    assert [positions[job_id] for job_id in _claim_all(database, clock)] == list(range(1, 13))


def test_the_place_of_the_first_job_of_a_queue_is_the_time_of_its_submission(database: Database) -> None:
    job = stored.job(database, queue_driver.submit(database, priority=Priority.HIGH))
    expected = job.created_at.timestamp() - places.DEFAULT_RULES.head_start_s(Priority.HIGH)
    assert job.place == pytest.approx(expected, abs=0.01)


@ON_SQLITE
def test_the_next_job_is_found_by_an_index(database: Database) -> None:
    queue_driver.submit(database)
    with recorded_statements(database) as statements:
        queue_driver.claim_next(database)
    [claim] = [each for each in statements if each.sql.startswith("UPDATE jobs")]
    assert "USING INDEX ix_jobs_next (queue=? AND tenant=? AND place>?)" in plan(database, claim)
    assert "TEMP B-TREE" not in plan(database, claim)


@ON_SQLITE
def test_a_position_is_counted_in_an_index(database: Database) -> None:
    job_id = queue_driver.submit(database)
    statement, *_ = selects(
        database,
        lambda session: waits.of_job(session, session.scalars(select(Job).where(Job.id == job_id)).one()),
    )[1:]
    assert "COVERING INDEX ix_jobs_next (queue=? AND tenant=?" in plan(database, statement)


def test_a_job_that_is_to_start_later_starts_then_and_not_before(
    database: Database, clock: FrozenClock
) -> None:
    later = clock.moment + timedelta(seconds=100)
    scheduled = _submit(database, clock, earliest_at=later)
    assert stored.job(database, scheduled).scheduled_at == later
    now = _submit(database, clock)
    assert _claim_all(database, clock) == [now]
    clock.advance(100)
    assert _claim_all(database, clock) == [scheduled]


def test_jobs_that_are_to_start_later_stand_behind_those_that_can_start(
    database: Database, clock: FrozenClock
) -> None:
    # so that a claim need not look at them
    scheduled = _submit(database, clock, earliest_at=clock.moment + timedelta(seconds=100))
    clock.advance(50)
    now = _submit(database, clock)
    assert stored.job(database, scheduled).place > stored.job(database, now).place


def test_a_time_that_has_passed_means_at_once(database: Database, clock: FrozenClock) -> None:
    job_id = _submit(database, clock, earliest_at=clock.moment - timedelta(seconds=100))
    assert stored.job(database, job_id).scheduled_at == clock.moment
    assert _claim_all(database, clock) == [job_id]
