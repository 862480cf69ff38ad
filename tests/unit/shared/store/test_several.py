"""Several short jobs are claimed in one transaction, and reported in one: each has its own fence."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from threading import Barrier
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Job
from shared.formats.results import Produced
from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.schemas import Priority
from shared.store import attempts, claims, job_edits, limits, recovery
from shared.store.attempts import Success
from shared.store.claims import TOGETHER, Claim
from shared.store.known_turns import KnownTurns
from shared.store.submissions import Submitter
from shared.store.transitions import AttemptId
from tests.support import queue_driver, stored
from tests.support.factories import (
    make_epoch,
    make_model,
    make_new_job,
    make_progress,
    make_worker_info,
)
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import submit, submit_all
from tests.support.stored import all_rows

T = TypeVar("T")

_PROCESS = "worker-1/pool-1"
_CLAIMERS = 8


def _claim_several(
    database: Database, most: int = 16, *, owner: str = "x", known: KnownTurns | None = None
) -> list[Claim]:
    return database.write(
        lambda session: claims.claim_several(
            session,
            ["default"],
            worker=make_worker_info(name="worker-1"),
            owner=f"{_PROCESS}/{owner}{TOGETHER}",
            lease_s=30.0,
            most=most,
            known=known,
        )
    )


def _ids(claimed: Sequence[Claim]) -> list[UUID]:
    return [claim.attempt.job_id for claim in claimed]


def _succeed(database: Database, *of: AttemptId, **options: Any) -> set[AttemptId]:
    successes = [Success(attempt, make_model().produced, **options) for attempt in of]
    return database.write(partial(attempts.succeed_each, successes=successes))


def test_the_first_jobs_of_a_tenant_are_claimed_in_their_order_and_found_again(database: Database) -> None:
    job_ids = submit_all(database, [make_new_job() for _ in range(5)])
    submit_all(database, [make_new_job()], submitter=Submitter("team other"))
    claimed = _claim_several(database, 3)
    assert _ids(claimed) == job_ids[:3]
    assert {claim.attempt.number for claim in claimed} == {1}
    # as after a commit that was not confirmed
    assert _claim_several(database, 3) == claimed
    events = [stored.events(database, job_id)[-1].type for job_id in job_ids]
    assert events == [EventType.CLAIMED] * 3 + [EventType.SUBMITTED] * 2


def test_a_job_that_was_tried_before_is_claimed_alone(database: Database) -> None:
    job_ids = submit_all(database, [make_new_job() for _ in range(4)])
    for job_id in job_ids[1:3]:
        attempt = queue_driver.claim(database, job_id).attempt
        database.write(partial(attempts.release, attempt=attempt))
    taken = [_ids(_claim_several(database, owner=str(number))) for number in range(4)]
    assert taken == [[job_id] for job_id in job_ids]


def test_an_urgent_job_is_claimed_alone(database: Database) -> None:
    submit_all(database, [make_new_job() for _ in range(3)])
    urgent = submit(database, priority=Priority.URGENT)
    assert _ids(_claim_several(database)) == [urgent]


def test_no_more_than_one_is_claimed_while_a_limit_is_set(database: Database) -> None:
    submit_all(database, [make_new_job() for _ in range(5)])
    database.write(partial(limits.limit_queue, queue="default", max_running=2))
    assert [len(_claim_several(database, owner=str(number))) for number in range(3)] == [1, 1, 0]


def test_claims_of_several_at_the_same_time_share_no_job(postgresql: Database) -> None:
    job_ids = submit_all(postgresql, [make_new_job() for _ in range(100)])
    barrier = Barrier(4, timeout=10)

    def claim(number: int) -> list[UUID]:
        barrier.wait()
        claimed = [_claim_several(postgresql, 5, owner=f"{number}-{turn}") for turn in range(5)]
        return [job_id for several in claimed for job_id in _ids(several)]

    with ThreadPoolExecutor(4) as pool:
        taken = [job_id for of_thread in pool.map(claim, range(4)) for job_id in of_thread]
    while claimed := _ids(_claim_several(postgresql, owner=str(len(taken)))):
        taken += claimed
    assert sorted(taken) == sorted(job_ids)


def _at_once(work: Callable[[int, KnownTurns], T]) -> list[T]:
    """Do work in 8 threads at once, each with what a process knows; return the results."""
    barrier = Barrier(_CLAIMERS, timeout=10)

    def begin(number: int) -> T:
        barrier.wait()
        return work(number, KnownTurns())

    with ThreadPoolExecutor(_CLAIMERS) as pool:
        return list(pool.map(begin, range(_CLAIMERS)))


def _running(database: Database) -> int:
    count = select(func.count()).select_from(Job).where(Job.state == JobState.RUNNING)
    return database.read(lambda session: session.execute(count).scalar_one())


def test_claims_of_several_at_the_same_time_keep_a_limit(postgresql: Database) -> None:
    job_ids = submit_all(postgresql, [make_new_job() for _ in range(40)])
    postgresql.write(partial(limits.limit_queue, queue="default", max_running=3))

    def run(number: int, known: KnownTurns) -> list[int]:
        seen: list[int] = []
        while any(stored.job(postgresql, job_id).state != JobState.SUCCEEDED for job_id in job_ids[-3:]):
            owners = [f"{number}-{len(seen)}-{nth}" for nth in range(3)]
            claimed = [_claim_several(postgresql, owner=owner, known=known) for owner in owners]
            seen.append(_running(postgresql))
            _succeed(postgresql, *(claim.attempt for several in claimed for claim in several))
        return seen

    assert max(running for seen in _at_once(run) for running in seen) == 3
    assert {stored.job(postgresql, job_id).attempt for job_id in job_ids} == {1}


def test_a_limit_that_is_set_among_claims_of_several_holds_from_its_commit_on(postgresql: Database) -> None:
    submit_all(postgresql, [make_new_job() for _ in range(300)])

    def work(number: int, known: KnownTurns) -> int:
        for turn in range(8):
            if (number, turn) == (0, 1):
                postgresql.write(partial(limits.limit_queue, queue="default", max_running=10))
                return _running(postgresql)
            _claim_several(postgresql, 4, owner=f"{number}-{turn}", known=known)
        return 0

    ran_when_it_was_set, *_ = _at_once(work)
    assert _running(postgresql) == max(ran_when_it_was_set, 10)


def test_no_claim_of_several_at_the_same_time_has_an_urgent_job(postgresql: Database) -> None:
    normal = submit_all(postgresql, [make_new_job() for _ in range(150)])

    def work(number: int, known: KnownTurns) -> list[list[UUID]]:
        # one is submitted among the claims of others, which know nothing of it
        claimed = []
        for turn in range(4):
            urgent.append(submit(postgresql, priority=Priority.URGENT))
            claimed.append(_ids(_claim_several(postgresql, 4, owner=f"{number}-{turn}", known=known)))
        return claimed

    urgent: list[UUID] = []
    claimed = [several for of_thread in _at_once(work) for several in of_thread]
    while several := _ids(_claim_several(postgresql, owner=str(len(claimed)))):
        claimed.append(several)
    assert sorted(chain.from_iterable(claimed)) == sorted([*normal, *urgent])
    urgent_ids = set(urgent)
    assert {len(several) for several in claimed if not urgent_ids.isdisjoint(several)} == {1}
    assert max(map(len, claimed)) > 1


def test_several_reports_leave_the_rows_of_as_many_single_ones(
    database: Database, clock: FrozenClock
) -> None:
    first, second, third = (queue_driver.running(database) for _ in range(3))
    progress = make_progress(make_epoch(0), make_epoch(1))
    successes = [
        Success(first, make_model().produced, progress),
        Success(second, Produced(), progress),
        Success(third, Produced()),
    ]
    rows = []
    for groups in ([successes], [[each] for each in successes]):
        with Session(database.engine) as session:
            for group in groups:
                assert attempts.succeed_each(session, group, now=clock) == set()
            rows.append(all_rows(session))
            session.rollback()
    assert rows[0] == rows[1]


def test_one_that_was_lost_meanwhile_is_left_out_and_the_others_are_reported(database: Database) -> None:
    submit_all(database, [make_new_job() for _ in range(3)])
    of = [claim.attempt for claim in _claim_several(database)]
    database.write(partial(attempts.release, attempt=of[1]))
    assert _succeed(database, *of) == {of[1]}
    states = [stored.job(database, attempt.job_id).state for attempt in of]
    assert states == [JobState.SUCCEEDED, JobState.QUEUED, JobState.SUCCEEDED]
    # repeated: the commit was not confirmed
    before = database.read(all_rows)
    assert _succeed(database, *of) == {of[1]}
    assert database.read(all_rows) == before


def test_one_that_runs_again_elsewhere_is_not_ended_by_a_late_report(database: Database) -> None:
    submit_all(database, [make_new_job() for _ in range(3)])
    of = [claim.attempt for claim in _claim_several(database)]
    database.write(partial(attempts.release, attempt=of[1]))
    again = queue_driver.claim(database, of[1].job_id).attempt
    assert _succeed(database, *of) == {of[1]}
    running = stored.job(database, again.job_id)
    assert (running.state, running.attempt) == (JobState.RUNNING, again.number)
    assert _succeed(database, again) == set()


def test_a_killed_process_loses_the_attempt_that_ran_and_no_other(database: Database) -> None:
    submit_all(database, [make_new_job() for _ in range(3)])
    of = [claim.attempt for claim in _claim_several(database)]
    database.write(partial(job_edits.request_cancel, job_id=of[2].job_id))
    taken = _take(database, begun=of[1])
    assert {lost.attempt: lost.began for lost in taken} == {of[0]: False, of[1]: True, of[2]: False}
    jobs = [stored.job(database, attempt.job_id) for attempt in of]
    assert [(job.state, job.lost_attempts) for job in jobs] == [
        ("queued", 0),
        ("queued", 1),
        ("cancelled", 0),
    ]
    outcomes = [stored.attempt(database, attempt.job_id, 1).outcome for attempt in of]
    assert outcomes == [AttemptOutcome.RELEASED, AttemptOutcome.LOST, AttemptOutcome.CANCELLED]


def _take(database: Database, begun: AttemptId | None = None) -> list[recovery.LostAttempt]:
    take = partial(recovery.take_from, process=_PROCESS, reason="it broke", max_lost_attempts=3, begun=begun)
    return database.write(take)


@pytest.mark.parametrize("by", ["its parent", "a reconciler"])
def test_a_job_that_was_claimed_with_others_is_lost_once_for_nothing(database: Database, by: str) -> None:
    job_ids = submit_all(database, [make_new_job() for _ in range(2)])

    def lose(claimed: Sequence[Claim]) -> None:
        if by == "its parent":
            _take(database)
        else:
            for claim in claimed:
                queue_driver.expire(database, claim.attempt)

    together = _claim_several(database)
    assert _ids(together) == job_ids
    lose(together)
    assert [stored.job(database, job_id).lost_attempts for job_id in job_ids] == [0, 0]
    # whichever of them ends its process: it runs alone now, and counts
    alone = _claim_several(database, owner="y")
    assert _ids(alone) == job_ids[:1]
    lose(alone)
    assert [stored.job(database, job_id).lost_attempts for job_id in job_ids] == [1, 0]
