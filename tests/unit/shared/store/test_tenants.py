"""Whose turn it is: the places that jobs of several tenants get, and what follows for the order of claims."""

from collections import Counter
from functools import partial
from itertools import count
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import QueueClock, TenantClock
from shared.schemas import Priority
from shared.store import attempts, queues, tenants
from shared.store.places import Rules
from shared.store.submissions import NewJobs, NewSweep, Submitter
from shared.store.submit import submit_jobs
from shared.store.tenants import Tenant
from shared.store.transitions import AttemptId
from tests.support import factories, queue_driver, stored
from tests.support.fakes import FrozenClock
from tests.support.turns import Placed, QueueOrder

_DAY_S = 86_400


def _submit(
    database: Database,
    clock: FrozenClock,
    tenant: str | Tenant,
    jobs: int = 1,
    *,
    rules: Rules = Rules(),  # noqa: B008
    **options: object,
) -> list[UUID]:
    new = [factories.make_new_job(**options) for _ in range(jobs)]
    submitter = Submitter(tenant if isinstance(tenant, Tenant) else Tenant(tenant))
    request = NewJobs(new, submitter=submitter)
    database.write(lambda session: submit_jobs(session, [request], rules=rules, now=clock))
    return [job.id for job in new]


def _claim(database: Database, clock: FrozenClock) -> UUID | None:
    claim = queue_driver.claim_next(database, now=clock)
    return claim.attempt.job_id if claim else None


def _cancel(attempt: AttemptId, clock: FrozenClock, session: Session) -> None:
    attempts.cancel_attempt(session, attempt, now=clock)


def _claims(database: Database, clock: FrozenClock, jobs: int) -> list[UUID | None]:
    return [_claim(database, clock) for _ in range(jobs)]


def test_a_tenant_that_comes_later_starts_after_one_job_of_the_tenant_before_it(
    database: Database, clock: FrozenClock
) -> None:
    first = _submit(database, clock, "a", 100)
    assert _claims(database, clock, 10) == first[:10]
    clock.advance(5_000)  # the jobs take longer than a second
    [second] = _submit(database, clock, "b")
    assert _claims(database, clock, 3) == [first[10], second, first[11]]


def test_tenants_take_turns_whatever_they_have_started_before(database: Database, clock: FrozenClock) -> None:
    first = _submit(database, clock, "a", 60)
    assert _claims(database, clock, 40) == first[:40]
    second = _submit(database, clock, "b", 10)
    assert _claims(database, clock, 20) == [
        job for pair in zip(first[40:], second, strict=False) for job in pair
    ]


def test_a_tenant_gets_no_credit_for_having_been_idle(database: Database, clock: FrozenClock) -> None:
    _submit(database, clock, "b")
    assert _claim(database, clock) is not None
    first = _submit(database, clock, "a", 50)
    _claims(database, clock, 30)
    clock.advance(_DAY_S)
    second = _submit(database, clock, "b", 3)
    assert _claims(database, clock, 4) == [first[30], second[0], first[31], second[1]]


def test_what_was_started_on_an_idle_queue_is_forgotten(database: Database, clock: FrozenClock) -> None:
    for _ in range(20):
        _submit(database, clock, "a")
        claim = queue_driver.claim_next(database, now=clock)
        assert claim is not None
        database.write(partial(_cancel, claim.attempt, clock))
    first, second = _submit(database, clock, "a", 2), _submit(database, clock, "b", 2)
    assert _claims(database, clock, 4) == [first[0], second[0], first[1], second[1]]


def test_tenants_start_jobs_in_proportion_to_their_weights(database: Database, clock: FrozenClock) -> None:
    owner = {
        job_id: name
        for name, weight in (("a", 1.0), ("b", 2.0), ("c", 5.0))
        for job_id in _submit(database, clock, Tenant(name, weight), 60)
    }
    started = Counter(owner[job_id] for job_id in _claims(database, clock, 80) if job_id)
    assert started == pytest.approx({"a": 10, "b": 20, "c": 50}, abs=1)


def test_a_sweep_is_a_tenant_of_its_own(database: Database, clock: FrozenClock) -> None:
    sweep = NewSweep(factories.make_new_job().id, None, {})
    new = [factories.make_new_job(sweep_id=sweep.id) for _ in range(5)]
    request = NewJobs(new, sweep=sweep, submitter=Submitter(Tenant("key 1")))
    database.write(lambda session: submit_jobs(session, [request], now=clock))
    [single] = _submit(database, clock, "key 1")
    assert stored.job(database, new[0].id).tenant == f"sweep {sweep.id}"
    assert _claims(database, clock, 2) == [new[0].id, single]


def test_a_high_job_passes_those_of_its_own_tenant(database: Database, clock: FrozenClock) -> None:
    normal = _submit(database, clock, "a", 5_000)
    [high] = _submit(database, clock, "a", priority=Priority.HIGH)
    assert _claims(database, clock, 2) == [high, normal[0]]


def test_low_jobs_of_several_tenants_take_turns_too(database: Database, clock: FrozenClock) -> None:
    first = _submit(database, clock, "a", 4, priority=Priority.LOW)
    second = _submit(database, clock, "b", 4, priority=Priority.LOW)
    assert _claims(database, clock, 4) == [first[0], second[0], first[1], second[1]]


def test_a_paused_queue_keeps_its_turns(database: Database, clock: FrozenClock) -> None:
    first = _submit(database, clock, "a", 10)
    database.write(lambda session: queues.pause(session, "default", now=clock))
    [second] = _submit(database, clock, "b")
    database.write(lambda session: queues.resume(session, "default"))
    assert _claims(database, clock, 3) == [first[0], second, first[1]]


def test_queues_have_turns_of_their_own(database: Database, clock: FrozenClock) -> None:
    _submit(database, clock, "a", 1_000)
    _submit(database, clock, "a", queue="gpu")
    [second] = _submit(database, clock, "b", queue="gpu")
    place = stored.job(database, second).place
    assert place == clock.moment.timestamp()


@pytest.mark.parametrize("priority", Priority)
def test_no_job_is_passed_for_longer_than_its_bound(
    database: Database, clock: FrozenClock, priority: Priority
) -> None:
    """Each later job is of a new tenant, which would always be next, and is as urgent as possible."""
    rules = Rules(urgent_s=50.0, high_s=10.0, low_s=10.0, passed_s=100.0)
    waiting = _submit(database, clock, "a", 3, rules=rules, priority=priority)
    place = stored.job(database, waiting[-1]).place
    bound = place + rules.passed_s + rules.urgent_s  # as a time: what is submitted later does not pass
    submitted_at: dict[UUID | None, float] = {}
    while (claimed := _claim(database, clock)) != waiting[-1]:
        assert submitted_at.get(claimed, 0.0) <= bound
        clock.advance(5)
        [new] = _submit(database, clock, f"new {len(submitted_at)}", rules=rules, priority=Priority.URGENT)
        submitted_at[new] = clock.moment.timestamp()
    assert clock.moment.timestamp() <= bound + 5 * len(waiting) + 5  # when those before it have started


def test_turns_that_have_passed_are_forgotten_without_a_difference(
    database: Database, clock: FrozenClock
) -> None:
    _submit(database, clock, "a", 3)
    second = _submit(database, clock, "b", 6)
    _claims(database, clock, 8)
    _submit(database, clock, "c")
    forget = partial(tenants.forget_past, limit=10)
    assert database.write(forget) == 1
    assert database.write(forget) == 0
    kept = database.read(lambda session: set(session.scalars(select(TenantClock.tenant))))
    assert kept == {"b", "c"}
    [later] = _submit(database, clock, "a")
    assert stored.job(database, later).place <= stored.job(database, second[-1]).place


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_second_job_of_a_tenant_stands_behind_the_first_of_another(data: st.DataObject) -> None:
    """In the model, which the state machine of the store compares with the database."""
    order, names, at = QueueOrder(Rules(50.0, 20.0, 20.0, 1e9)), count(), 1e9
    waiting: dict[int, tuple[Placed, str]] = {}
    running: dict[int, Placed] = {}
    numbers = count()
    for _ in range(data.draw(st.integers(1, 60))):
        at += data.draw(st.sampled_from((0.0, 0.5, 100.0)))
        if data.draw(st.booleans()) and waiting:
            if len(running) == 3:
                running.pop(data.draw(st.sampled_from(sorted(running))))
            first = min(waiting, key=lambda number: (waiting[number][0].place, number))
            running[first] = waiting.pop(first)[0]
            continue
        is_new = data.draw(st.booleans())
        name = f"new {next(names)}" if is_new else data.draw(st.sampled_from("abc"))
        tenant = Tenant(name, data.draw(st.sampled_from((0.5, 1.0, 3.0))) if is_new else 1.0)
        priority, jobs = data.draw(st.sampled_from(Priority)), data.draw(st.sampled_from((1, 2, 30)))
        placed = [job for job, _ in waiting.values()]
        places = order.submit(tenant, priority, jobs, at, placed, running.values())
        if is_new:
            others: dict[str, list[float]] = {}
            for job, other in waiting.values():
                if job.priority == priority:
                    others.setdefault(other, []).append(job.place)
            assert all(
                sorted(of_other)[1:2] > places[:1] for of_other in others.values() if len(of_other) > 1
            )
        waiting |= {next(numbers): (Placed(place, priority), name) for place in places}


def test_clocks_never_go_back(database: Database, clock: FrozenClock) -> None:
    _submit(database, clock, "a", 10)
    _claims(database, clock, 5)
    before = _clock_of(database)
    _submit(database, clock, "b")
    moved = _clock_of(database)
    assert moved > before
    clock.advance(-3_600)  # the database's clock is set back
    _submit(database, clock, "c")
    assert _clock_of(database) == moved


def _clock_of(database: Database) -> float:
    return database.read(lambda session: session.get_one(QueueClock, ("default", "normal")).place)
