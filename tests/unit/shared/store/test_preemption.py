"""An urgent job that finds no free slot preempts one running training job: the least urgent that it may."""

from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import Attempt
from shared.lifecycle import AttemptOutcome, EventType, JobState, WorkerState
from shared.schemas import Priority
from shared.store import attempts, claims, job_edits, leases, limits, preemption, queues
from shared.store.claims import Claim
from shared.store.transitions import AttemptId
from tests.support import factories, queue_driver, registry, stored
from tests.support.factories import make_epoch, make_progress, make_worker_info
from tests.support.fakes import FrozenClock

URGENT = Priority.URGENT


@pytest.fixture(autouse=True)
def worker(database: Database) -> str:
    """An online worker with two slots."""
    return registry.worker(database, slots=2, lost_after_s=1e6)


def _request(database: Database, *, min_run_s: float = 60.0, now: Now = database_now) -> list[AttemptId]:
    request = partial(preemption.request, queue_names=["default"], min_run_s=min_run_s, now=now)
    return database.write(request)


def _preempted_by(database: Database, attempt: AttemptId, epoch: int = 0) -> UUID | None:
    """Record an epoch, and return the urgent job that the attempt is told preempts it."""
    queue_driver.record_progress(database, attempt, make_progress(make_epoch(epoch)))
    look = database.read(partial(leases.look, attempts=[attempt], worker="worker-1"))
    return look.standings[attempt].urgent_id


def _hand_over(database: Database, victim: AttemptId, urgent: UUID, worker: str = "worker-1") -> Claim | None:
    """Release the victim and claim the urgent job, in one transaction, as a worker does."""

    def work(session: Session) -> Claim | None:
        attempts.release(session, victim, preempted_by=urgent)
        info = make_worker_info(name=worker)
        claim = partial(claims.claim, worker=info, owner=f"{worker}/next", lease_s=30.0)
        return claim(session, ["default"], before_all=urgent)

    return database.write(work)


def test_the_submission_of_an_urgent_job_without_a_free_slot_preempts_one_job(database: Database) -> None:
    first, second = queue_driver.running(database), queue_driver.running(database)
    urgent = queue_driver.submit(database, priority=URGENT)
    assert (_preempted_by(database, first), _preempted_by(database, second)) == (None, urgent)


def test_no_job_is_preempted_while_a_slot_is_free(database: Database) -> None:
    running = queue_driver.running(database)
    queue_driver.submit(database, priority=URGENT)
    assert _preempted_by(database, running) is None
    assert _request(database) == []


@pytest.mark.parametrize("priority", [each for each in Priority if each is not URGENT])
def test_no_job_is_preempted_by_one_that_is_not_urgent(priority: Priority, database: Database) -> None:
    running = [queue_driver.running(database), queue_driver.running(database)]
    queue_driver.submit(database, priority=priority)
    assert [_preempted_by(database, attempt) for attempt in running] == [None, None]


def test_the_job_of_the_lowest_priority_is_preempted(database: Database) -> None:
    low, high = (queue_driver.running(database, priority=each) for each in (Priority.LOW, Priority.HIGH))
    urgent = queue_driver.submit(database, priority=URGENT)
    assert (_preempted_by(database, low), _preempted_by(database, high)) == (urgent, None)


def test_an_urgent_job_is_not_preempted(database: Database) -> None:
    running = [queue_driver.running(database, priority=URGENT) for _ in range(2)]
    queue_driver.submit(database, priority=URGENT)
    assert [_preempted_by(database, attempt) for attempt in running] == [None, None]


def test_a_cancelled_job_and_one_of_a_draining_worker_are_not_preempted(database: Database) -> None:
    registry.worker(database, id="worker-2", state=WorkerState.DRAINING)
    cancelled = queue_driver.running(database)
    database.write(partial(job_edits.request_cancel, job_id=cancelled.job_id))
    other = queue_driver.running(database)
    stored.set_columns(database, queue_driver.submit(database), priority=URGENT)
    of_other = update(Attempt).where(Attempt.job_id == other.job_id).values(worker="worker-2")
    database.write(lambda session: session.execute(of_other))
    assert _request(database) == []
    assert _preempted_by(database, other) is None


def test_a_worker_that_does_not_serve_the_queue_gives_it_no_slot(database: Database) -> None:
    registry.worker(database, id="worker-2", queues=["gpu"])
    running = queue_driver.running(database)
    queue_driver.submit(database, queue="gpu", priority=URGENT)
    claim = queue_driver.claim_next(database, "gpu", worker="worker-2")
    assert claim is not None
    queue_driver.submit(database, queue="gpu", priority=URGENT)
    assert _preempted_by(database, running) is None


def test_each_urgent_job_has_a_victim_of_its_own_and_only_one(database: Database) -> None:
    running = [queue_driver.running(database), queue_driver.running(database)]
    urgent = [queue_driver.submit(database, priority=URGENT) for _ in range(3)]
    assert _request(database) == []
    assert {_preempted_by(database, attempt) for attempt in running} == set(urgent[:2])


def test_the_victim_is_released_and_the_urgent_job_claimed_in_one_transaction(database: Database) -> None:
    queue_driver.running(database)
    victim = queue_driver.running(database)
    earlier = queue_driver.submit(database)  # of an earlier place than the urgent job
    stored.set_columns(database, earlier, place=0.0)
    urgent = queue_driver.submit(database, priority=URGENT)
    claim = _hand_over(database, victim, urgent)
    assert claim is not None
    assert claim.attempt.job_id == urgent
    assert stored.job(database, victim.job_id).state == JobState.QUEUED
    event = stored.events(database, victim.job_id)[-1]
    assert (event.type, event.data) == (EventType.RELEASED, {"preempted_by": str(urgent)})
    assert stored.attempt(database, victim.job_id, 1).outcome == AttemptOutcome.RELEASED


def test_a_victim_keeps_its_place(database: Database) -> None:
    queue_driver.running(database)
    victim = queue_driver.running(database)
    place = stored.job(database, victim.job_id).place
    urgent = queue_driver.submit(database, priority=URGENT)
    _hand_over(database, victim, urgent)
    assert stored.job(database, victim.job_id).place == place


def test_a_job_is_not_preempted_by_an_urgent_one_that_has_found_a_slot(database: Database) -> None:
    other, victim = queue_driver.running(database), queue_driver.running(database)
    urgent = queue_driver.submit(database, priority=URGENT)
    queue_driver.succeed(database, other, factories.make_model())
    claim = queue_driver.claim_next(database)
    assert claim is not None
    assert claim.attempt.job_id == urgent
    assert _preempted_by(database, victim) is None


def test_a_victim_that_was_not_needed_may_be_asked_for_another_job(database: Database) -> None:
    other, victim = queue_driver.running(database), queue_driver.running(database)
    queue_driver.submit(database, priority=URGENT)
    queue_driver.succeed(database, other, factories.make_model())
    queue_driver.claim_next(database)
    second = queue_driver.submit(database, priority=URGENT)
    assert _preempted_by(database, victim) == second


def test_an_urgent_job_whose_victim_was_lost_gets_another(database: Database) -> None:
    first, second = queue_driver.running(database), queue_driver.running(database)
    urgent = queue_driver.submit(database, priority=URGENT)
    assert _preempted_by(database, second) == urgent
    database.write(partial(attempts.release, attempt=second))
    assert queue_driver.claim_next(database, before_all=second.job_id)
    assert _request(database) == [AttemptId(second.job_id, 2)]
    assert _preempted_by(database, first) is None


def test_a_job_is_preempted_by_the_same_urgent_one_only_once(database: Database) -> None:
    queue_driver.running(database, priority=URGENT)
    victim = queue_driver.running(database)
    urgent = queue_driver.submit(database, priority=URGENT)
    claim = _hand_over(database, victim, urgent)
    assert claim is not None
    database.write(partial(attempts.release, attempt=claim.attempt))  # its worker was stopped
    assert queue_driver.claim_next(database, before_all=victim.job_id)
    assert _request(database, min_run_s=0.0) == []


def test_a_job_is_preempted_again_only_after_a_while(database: Database, clock: FrozenClock) -> None:
    queue_driver.running(database, priority=URGENT)
    victim = queue_driver.running(database)
    first = queue_driver.submit(database, priority=URGENT)
    claim = _hand_over(database, victim, first)
    assert claim is not None
    queue_driver.succeed(database, claim.attempt, factories.make_model())
    assert queue_driver.claim_next(database, before_all=victim.job_id)
    started_at = stored.attempt(database, victim.job_id, 2).started_at
    queue_driver.submit(database, priority=URGENT)
    assert _request(database) == []
    clock.moment = started_at
    clock.advance(59)
    assert _request(database, now=clock) == []
    clock.advance(2)
    assert _request(database, now=clock) == [AttemptId(victim.job_id, 2)]


def test_no_job_is_preempted_by_one_that_could_not_start(database: Database) -> None:
    running = [queue_driver.running(database), queue_driver.running(database)]
    database.write(partial(queues.pause, queue="default"))
    queue_driver.submit(database, priority=URGENT)
    assert _request(database) == []
    assert [_preempted_by(database, attempt) for attempt in running] == [None, None]


def test_a_job_of_the_same_queue_is_preempted_if_the_queues_limit_is_reached(database: Database) -> None:
    database.write(partial(limits.limit_queue, queue="default", max_running=1))
    victim = queue_driver.running(database)
    urgent = queue_driver.submit(database, priority=URGENT)
    assert _preempted_by(database, victim) == urgent
    claim = _hand_over(database, victim, urgent)
    assert claim is not None
    assert claim.attempt.job_id == urgent


def test_if_the_urgent_job_cannot_start_any_more_the_next_one_does(database: Database) -> None:
    queue_driver.running(database)
    victim = queue_driver.running(database)
    urgent = queue_driver.submit(database, priority=URGENT)
    database.write(partial(job_edits.request_cancel, job_id=urgent))
    claim = _hand_over(database, victim, urgent)
    assert claim is not None
    assert claim.attempt == AttemptId(victim.job_id, 2)


def test_evaluations_are_not_preempted(database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    running = [
        queue_driver.running(database, kind="evaluate", spec=spec, model_id=model.id) for _ in range(2)
    ]
    queue_driver.submit(database, priority=URGENT)
    assert _request(database) == []
    assert [_preempted_by(database, attempt) for attempt in running] == [None, None]
