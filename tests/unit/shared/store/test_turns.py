"""Whose turn it is: slots are shared by what tenants use of them, and nobody is passed for ever."""

from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Job, Tenant
from shared.schemas import ApiKeyUpdate, Priority, Scope
from shared.store import api_keys, queues, tenants, turns, waits
from shared.store.known_turns import STALE_S, KnownTurns
from shared.store.places import Rules
from shared.store.tenants import Use
from tests.support import queue_driver, stored
from tests.support.fakes import FrozenClock
from tests.support.slots import Slots, jain
from tests.support.statements import ON_SQLITE, plan, recorded_statements


def _use(database: Database, clock: FrozenClock, **seconds: float) -> None:
    """Have tenants use virtual time in the queue `default`, one after another."""
    for tenant, used in seconds.items():
        database.write(partial(tenants.add, uses={("default", tenant): Use(used)}, now=clock))


def _submit(database: Database, clock: FrozenClock, tenant: str, jobs: int = 1, **options: Any) -> list[UUID]:
    return [queue_driver.submit(database, tenant=tenant, now=clock, **options) for _ in range(jobs)]


def _claims(database: Database, clock: FrozenClock, jobs: int, known: KnownTurns | None = None) -> list[UUID]:
    claims = [queue_driver.claim_next(database, known=known, now=clock) for _ in range(jobs)]
    return [claim.attempt.job_id for claim in claims if claim]


def _times(database: Database) -> dict[str, float]:
    rows = database.read(lambda session: session.execute(select(Tenant.name, Tenant.time_s)).all())
    return {row.name: row.time_s for row in rows}


@pytest.mark.parametrize(
    ("weights", "lengths"),
    [((1, 1), (600, 60)), ((1, 1), (10, 400)), ((3, 1), (60, 600)), ((1, 3), (60, 600))],
)
def test_slots_are_shared_by_time_and_weight_whatever_jobs_last(
    database: Database, clock: FrozenClock, weights: tuple[int, int], lengths: tuple[int, int]
) -> None:
    names = {}
    for weight in weights:
        key = api_keys.NewApiKey.draw()
        create = partial(api_keys.create, key=key, name="Ada", scope=Scope.SUBMIT, weight=weight)
        database.write(create)
        names[f"key {key.id}"] = weight
    slots, until_s = Slots(database, clock, 4), 10 * max(lengths)
    for name, length in zip(names, lengths, strict=True):
        slots.submit(name, 4 * until_s // length, length)
    slots.run(until_s)
    shares = {name: slots.use()[name] / weight for name, weight in names.items()}
    assert jain(shares.values()) > 0.98, shares
    mean = sum(shares.values()) / len(shares)
    assert all(share == pytest.approx(mean, rel=0.06) for share in shares.values()), shares


def test_a_weight_holds_at_once_and_that_of_a_team_is_its_keys_greatest(
    database: Database, clock: FrozenClock
) -> None:
    keys = {weight: api_keys.NewApiKey.draw() for weight in (1.0, 3.0)}
    for weight, key in keys.items():
        create = partial(api_keys.create, key=key, name="Ada", scope=Scope.SUBMIT, weight=weight, team="red")
        database.write(create)
    _submit(database, clock, "team red")
    for weight in (3.0, 5.0):
        [turn] = database.read(lambda session: turns.read(session, "default", now=clock))
        assert (turn.tenant, turn.weight) == ("team red", weight)
        changes = ApiKeyUpdate(weight=5.0)
        database.write(partial(api_keys.change, key_id=keys[1.0].id, changes=changes))


def test_sweeps_of_one_job_give_no_advantage(database: Database, clock: FrozenClock) -> None:
    slots = Slots(database, clock, 2)
    slots.submit("a", 100, 10, is_sweep=True)
    for _ in range(100):
        slots.submit("b", 1, 10, is_sweep=True)
    slots.run(500)
    assert slots.use()["b"] == pytest.approx(slots.use()["a"], rel=0.05)


def test_the_sweeps_and_the_single_jobs_of_a_tenant_take_turns(
    database: Database, clock: FrozenClock
) -> None:
    slots = Slots(database, clock, 1)
    of = dict.fromkeys(slots.submit("a", 30, 1, is_sweep=True), "sweep 1")
    of |= {slots.submit("a", 1, 1)[0]: "single" for _ in range(30)}
    slots.run(20)
    of |= dict.fromkeys(slots.submit("a", 30, 1, is_sweep=True), "sweep 2")
    slots.run(30)
    late = Counter(of[job_id] for job_id in slots.started[21:51])
    assert late == pytest.approx({"sweep 1": 10, "single": 10, "sweep 2": 10}, abs=1)


def test_a_tenant_that_comes_later_gets_no_credit_for_what_it_did_not_use(
    database: Database, clock: FrozenClock
) -> None:
    slots = Slots(database, clock, 2)
    slots.submit("a", 400, 10)
    slots.run(1_000)
    slots.submit("b", 400, 10)
    slots.run(400)
    assert slots.use()["b"] == pytest.approx(400, abs=20)


def test_a_tenant_that_was_idle_gets_no_credit_either(database: Database, clock: FrozenClock) -> None:
    slots = Slots(database, clock, 2)
    slots.submit("b", 2, 10)
    slots.run(10)
    slots.submit("a", 400, 10)
    slots.run(1_000)
    assert database.write(partial(tenants.forget_idle, limit=10)) == 1
    slots.submit("b", 400, 10)
    slots.run(400)
    assert slots.use()["b"] == pytest.approx(420, abs=20)


def test_what_an_idle_queue_had_used_is_forgotten(database: Database, clock: FrozenClock) -> None:
    slots = Slots(database, clock, 1)
    slots.submit("a", 20, 10)
    slots.run(200)
    assert _times(database).keys() == {"a"}
    assert database.write(partial(tenants.forget_idle, limit=10)) == 1
    assert _times(database) == {}


def test_a_tenant_that_is_ahead_of_others_is_not_forgotten(database: Database, clock: FrozenClock) -> None:
    _submit(database, clock, "b")
    _use(database, clock, a=50.0, b=10.0, c=-45.0)  # who is new begins at the least
    assert _times(database) == {"a": 50.0, "b": 60.0, "c": 5.0}
    for _ in range(2):
        assert database.write(partial(tenants.forget_idle, limit=1)) == 1
    assert _times(database).keys() == {"b"}
    _use(database, clock, a=70.0)
    assert database.write(partial(tenants.forget_idle, limit=9)) == 0


def test_queues_have_turns_of_their_own(database: Database, clock: FrozenClock) -> None:
    _use(database, clock, b=0.0, a=100.0)
    [first] = _submit(database, clock, "a", queue="gpu")
    [second] = _submit(database, clock, "b", queue="gpu")
    claims = [queue_driver.claim_next(database, "gpu", now=clock) for _ in range(2)]
    assert [claim.attempt.job_id for claim in claims if claim] == [first, second]


def test_a_priority_is_a_head_start_of_what_its_tenant_may_use(
    database: Database, clock: FrozenClock
) -> None:
    head_start_s = Rules().head_start_s(Priority.HIGH)
    [high], [normal] = _submit(database, clock, "a", priority=Priority.HIGH), _submit(database, clock, "b")
    _use(database, clock, b=0.0, a=head_start_s + 1.0)
    assert _claims(database, clock, 1) == [normal]
    [normal] = _submit(database, clock, "b")
    _use(database, clock, a=-2.0)
    assert _claims(database, clock, 1) == [high]


def test_a_high_job_passes_those_of_its_own_tenant(database: Database, clock: FrozenClock) -> None:
    normal = _submit(database, clock, "a", 5)
    high = _submit(database, clock, "a", 2, priority=Priority.HIGH)
    assert _claims(database, clock, 3) == [*high, normal[0]]


def test_a_paused_queue_keeps_its_turns(database: Database, clock: FrozenClock) -> None:
    [first], [second] = _submit(database, clock, "a"), _submit(database, clock, "b")
    _use(database, clock, b=0.0, a=5.0)
    database.write(lambda session: queues.pause(session, "default", now=clock))
    assert _claims(database, clock, 1) == []
    database.write(lambda session: queues.resume(session, "default"))
    assert _claims(database, clock, 2) == [second, first]


@pytest.mark.parametrize("priority", Priority)
def test_nobody_is_passed_for_longer_than_the_bound(
    database: Database, clock: FrozenClock, priority: Priority
) -> None:
    """Each later job is of a new tenant, which would always be next, and is as urgent as possible."""
    rules = Rules(urgent_s=50.0, high_s=10.0, low_s=10.0, passed_s=100.0)
    slots = Slots(database, clock, 1, rules=rules)
    slots.submit("a", 1, 5)
    slots.run(5)
    waiting = slots.submit("a", 3, 5, priority=priority)
    waits_since = slots.now_s
    submitted_at: dict[UUID, float] = {}
    started_at: dict[UUID, float] = {}
    for number in range(100):
        new = slots.submit(f"new {number}", 1, 5, priority=Priority.URGENT)
        submitted_at |= dict.fromkeys(new, slots.now_s)
        slots.run(5)
        started_at |= {job_id: slots.now_s for job_id in slots.started if job_id not in started_at}
        if started_at.keys() >= set(waiting):
            break
    for job_id in waiting:
        bound, started = waits_since + rules.passed_s + 5, started_at[job_id]
        passed_by = [other for other in submitted_at if bound < started_at.get(other, 0.0) < started]
        assert all(submitted_at[other] <= waits_since for other in passed_by)
        waits_since = started


def test_a_low_job_waits_for_a_bounded_number_of_its_own_tenants(
    database: Database, clock: FrozenClock
) -> None:
    rules = Rules(low_s=20.0)
    slots = Slots(database, clock, 1, rules=rules)
    [low] = slots.submit("a", 1, 1, priority=Priority.LOW)
    for _ in range(30):
        slots.submit("a", 2, 1)
        slots.run(1)
    assert slots.started.index(low) == pytest.approx(20, abs=2)


def test_no_job_is_passed_for_ever_by_later_ones_of_its_own_tenant(
    database: Database, clock: FrozenClock
) -> None:
    """Each later one is a sweep, whose first job has the turn of the first that waits."""
    rules = Rules(low_s=10.0, passed_s=50.0)
    slots = Slots(database, clock, 1, rules=rules)
    [low], bound = slots.submit("a", 1, 5, priority=Priority.LOW), slots.now_s + rules.low_s + rules.passed_s
    submitted_at: dict[UUID, float] = {}
    while low not in slots.waited_s:
        for _ in range(2):
            submitted_at |= dict.fromkeys(slots.submit("a", 1, 5, is_sweep=True), slots.now_s)
        slots.run(5)
        assert slots.now_s <= bound + rules.passed_s + 20  # when those before it have started
    assert all(submitted_at.get(job_id, 0.0) <= bound for job_id in slots.started)


def test_what_a_transaction_that_failed_has_not_written_stays_owed(
    database: Database, clock: FrozenClock
) -> None:
    known = KnownTurns(stale_s=0.0, monotonic=lambda: clock.moment.timestamp())
    _submit(database, clock, "a")
    claim = queue_driver.claim_next(database, known=known, now=clock)
    assert claim is not None
    with known.settling() as settlement:
        database.write(partial(settlement.write, started=[claim.started], now=clock))
    clock.advance(5)
    known.ended(claim.attempt.job_id)
    with pytest.raises(RuntimeError), known.settling():
        raise RuntimeError
    assert _times(database) == {"a": 0.0}
    with known.settling() as settlement:
        database.write(partial(settlement.write, now=clock))
    assert _times(database) == {"a": 5.0}


def test_the_claim_that_follows_a_job_knows_what_the_job_has_used(
    database: Database, clock: FrozenClock
) -> None:
    slots = Slots(database, clock, 1, heartbeat_s=1e6)
    slots.submit("a", 2, 100)
    slots.run(50)
    other = slots.submit("b", 2, 100)
    slots.run(50)
    assert slots.started[1] == other[0]


def test_a_claim_waits_for_nobody_who_writes_what_a_tenant_has_used(
    postgresql: Database, clock: FrozenClock
) -> None:
    known = KnownTurns(stale_s=0.0, monotonic=lambda: clock.moment.timestamp())
    first, second = _submit(postgresql, clock, "a", 2)
    with Session(postgresql.engine) as stopped:  # a process that is suspended in a claim
        assert tenants.add(stopped, {("default", "a"): Use(1.0)}, now=clock)
        claim = queue_driver.claim_next(postgresql, known=known, now=clock)
        assert claim is not None
        with known.settling() as settlement:
            postgresql.write(partial(settlement.write, started=[claim.started], now=clock))
        clock.advance(3)
        known.ended(first)
        with known.settling() as settlement:
            postgresql.write(partial(settlement.write, now=clock))
        assert _claims(postgresql, clock, 1, known) == [second]
        assert _times(postgresql) == {}
    with known.settling() as settlement:
        postgresql.write(partial(settlement.write, now=clock))
    assert _times(postgresql) == {"a": 3.0}


def test_what_a_process_knows_is_a_second_old_at_most(database: Database, clock: FrozenClock) -> None:
    known = KnownTurns(monotonic=lambda: clock.moment.timestamp())
    first, second, third = _submit(database, clock, "a", 3)
    assert _claims(database, clock, 1, known) == [first]
    [urgent] = _submit(database, clock, "b", priority=Priority.URGENT)
    [before] = _submit(database, clock, "a", priority=Priority.HIGH)
    assert _claims(database, clock, 1, known) == [second]
    clock.advance(STALE_S)
    assert _claims(database, clock, 9, known) == [urgent, before, third]


def test_a_process_that_knows_of_no_more_jobs_looks_again_at_once(
    database: Database, clock: FrozenClock
) -> None:
    known = KnownTurns(monotonic=lambda: clock.moment.timestamp())
    [first] = _submit(database, clock, "a", priority=Priority.LOW)
    assert _claims(database, clock, 1, known) == [first]
    others = [*_submit(database, clock, "a"), *_submit(database, clock, "b")]
    assert _claims(database, clock, 3, known) == others


def test_short_jobs_are_settled_once_a_second(database: Database, clock: FrozenClock) -> None:
    slots = Slots(database, clock, 1)
    slots.submit("a", 40, 0.1)
    slots.run(0.95)
    assert _times(database) == {"a": 0.0}
    slots.run(0.2)
    assert _times(database) == {"a": pytest.approx(1.0, abs=0.2)}


def test_positions_are_those_of_the_order_of_claims(database: Database, clock: FrozenClock) -> None:
    names = ("a", "b", "c")
    for name in names:
        _submit(database, clock, name, 4)
    _use(database, clock, a=0.0, b=1.5, c=20.0)
    rows = database.read(lambda session: session.scalars(select(Job)).all())
    all_waits = database.read(lambda session: waits.of_jobs(session, rows, now=clock))
    positions = {job.id: wait.queue_position for job, wait in zip(rows, all_waits, strict=True)}
    assert sorted(positions.values()) == list(range(1, 13))
    of = {job.id: job.tenant for job in rows}
    in_order = [of[job_id] for job_id in sorted(positions, key=lambda job_id: positions[job_id])]
    assert in_order == ["a", "a", "b", "a", "b", "a", "b", "b", "c", "c", "c", "c"]


@ON_SQLITE
def test_each_tenant_is_found_by_an_index(database: Database) -> None:
    queue_driver.submit(database, tenant="a")
    with recorded_statements(database) as statements:
        database.read(lambda session: turns.read(session, "default"))
    [statement] = [each for each in statements if each.sql.startswith("WITH RECURSIVE")]
    found = plan(database, statement)
    assert "SCAN jobs" not in found
    assert found.count("COVERING INDEX ix_jobs_next") == 2


def test_the_order_of_one_tenant_is_that_of_submission(database: Database, clock: FrozenClock) -> None:
    job_ids = _submit(database, clock, "a", 5)
    assert _claims(database, clock, 5) == job_ids
    assert [stored.job(database, job_id).tenant for job_id in job_ids] == ["a"] * 5
