"""Concurrent writes have the effect of the same writes in sequence, in either order.

The first write holds its transaction open until the second waits for it, which is observed on PostgreSQL and
certain on SQLite. The result is compared with that of both in sequence, on the same rows with the same clock.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import product
from threading import Barrier
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Attempt, IdempotencyKey, Job, Model, Tenant
from shared.errors import IdempotencyKeyReused, TrainshedError
from shared.lifecycle import Phase
from shared.store import attempts, claims, job_edits, leases, recovery
from shared.store.claims import Claim
from shared.store.idempotency import Idempotency
from shared.store.submissions import NewJob
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support import queue_driver
from tests.support.databases import TABLES
from tests.support.factories import make_epoch, make_model, make_new_job, make_progress, make_worker_info
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import claim_next, succeed_attempt
from tests.support.stored import all_rows

Work = Callable[[Session], Any]
T = TypeVar("T")

_NEW, _OTHER, _MODEL = make_new_job(), make_new_job(), make_model()
_FAILURE = AttemptFailure("internal", "it broke")
_ATTEMPT = AttemptId(_NEW.id, 1)
_EARLIER, _CLOCK = FrozenClock(), FrozenClock()
_CLOCK.advance(60)


def _submit(session: Session, new: NewJob, request: str) -> Any:
    return submit_job(session, new, idempotency=Idempotency("k", request * 64), now=_CLOCK)


def _claim(session: Session, owner: str, now: FrozenClock = _CLOCK) -> Claim | None:
    worker = make_worker_info(name=owner)
    return claims.claim(session, ["default"], worker=worker, owner=owner, lease_s=30, now=now)


def _record(session: Session, epoch: int, now: FrozenClock = _CLOCK) -> None:
    attempts.record(session, _ATTEMPT, make_progress(make_epoch(epoch)), lease_s=30, now=now)


_WORKS: dict[str, Work] = {
    "renew": lambda session: leases.renew(session, [_ATTEMPT], lease_s=30, now=_CLOCK),
    "record": lambda session: _record(session, 1),
    "succeed": lambda session: succeed_attempt(session, _ATTEMPT, _MODEL.produced, now=_CLOCK),
    "retry": lambda session: attempts.fail(session, _ATTEMPT, _FAILURE, retry_in_s=0, now=_CLOCK),
    "cancel": lambda session: attempts.cancel_attempt(session, _ATTEMPT, now=_CLOCK),
    "release": lambda session: attempts.release(session, _ATTEMPT, now=_CLOCK),
    "request cancel": lambda session: job_edits.request_cancel(session, _NEW.id, now=_CLOCK),
    "reap": lambda session: recovery.reap(session, max_lost_attempts=3, lease_s=30.0, now=_CLOCK),
    "claim": lambda session: _claim(session, "worker-2/1"),
    "claim by another": lambda session: _claim(session, "worker-3/1"),
    "end cancelled": lambda session: recovery.end_cancelled(session, now=_CLOCK),
    "submit": lambda session: _submit(session, _NEW, "a"),
    "submit again": lambda session: _submit(session, _OTHER, "a"),
    "submit other": lambda session: _submit(session, _OTHER, "b"),
}


_OF_SKIPPED: dict[str, Any] = {
    "renew": set(),
    "reap": [],
    "end cancelled": [],
    "claim": None,
    "claim by another": None,
}


def _skipped(name: str) -> Work:
    """Return a write that skips all rows, with the result that the write of that name has then."""
    return lambda _session: _OF_SKIPPED[name]


def _delete_all(session: Session) -> None:
    for table in (IdempotencyKey, Tenant, Model, Job):
        session.execute(delete(table))


def _queued(session: Session) -> None:
    _delete_all(session)
    submit_job(session, _NEW, now=_EARLIER)


def _running(session: Session) -> None:
    """A running job whose lease has expired and which has not been reaped yet."""
    _queued(session)
    _claim(session, "worker-1/1", _EARLIER)
    _record(session, 0, _EARLIER)
    session.execute(update(Job).values(lease_expires_at=_EARLIER(30)))


def _running_to_be_cancelled(session: Session) -> None:
    _running(session)
    job_edits.request_cancel(session, _NEW.id, now=_EARLIER)


def _queued_to_be_cancelled(session: Session) -> None:
    _running_to_be_cancelled(session)
    attempts.release(session, _ATTEMPT, now=_EARLIER)


_CASES: dict[str, tuple[Work, str]] = {
    "nothing": (_delete_all, "submit, submit again, submit other"),
    "queued": (_queued, "claim, claim by another, request cancel"),
    "queued, to be cancelled": (_queued_to_be_cancelled, "claim, request cancel, end cancelled"),
    "running": (_running, "renew, record, succeed, retry, release, request cancel, reap, claim"),
    "running, to be cancelled": (_running_to_be_cancelled, "record, succeed, retry, cancel, release, reap"),
}


def _restore(session: Session, stored: dict[str, list[Any]]) -> None:
    _delete_all(session)
    for table in TABLES:
        if rows := stored[table.name]:
            session.execute(insert(table), [row._mapping for row in rows])


def _rows(session: Session) -> dict[str, list[Any]]:
    """Return all rows but those of tenants: a claim that takes no job may have seen that one waits."""
    return {table: rows for table, rows in all_rows(session).items() if table != Tenant.__tablename__}


def _run_in_sequence(database: Database, works: tuple[Work, Work]) -> Any:
    with Session(database.engine) as session:  # never committed
        outcomes = []
        for work in works:
            try:
                with session.begin_nested():
                    outcomes.append(work(session))
            except TrainshedError as error:
                outcomes.append(type(error))
            session.expunge_all()
        return outcomes, _rows(session)


def _run_concurrently(database: Database, pool: ThreadPoolExecutor, works: tuple[Work, Work]) -> Any:
    second_writes: list[Future[Any]] = []

    def hold(session: Session) -> Any:
        result = works[0](session)
        session.flush()
        second_writes.append(pool.submit(_outcome, database, works[1]))
        while not (second_writes[-1].done() or _is_waiting_for_a_lock(database)):
            pass  # a few round trips; the test's own time limit ends it
        return result

    outcomes = [_outcome(database, hold), second_writes[-1].result()]
    return outcomes, database.read(_rows)


def _outcome(database: Database, work: Work) -> Any:
    """Return the result of a write, or the class of its error."""
    try:
        return database.write(work)
    except TrainshedError as error:
        return type(error)


def _is_waiting_for_a_lock(database: Database) -> bool:
    if database.engine.dialect.name == "sqlite":
        return True  # SQLite has one writer at a time
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with database.engine.connect() as connection:
        return bool(connection.scalar(text(waiting)))


@pytest.mark.parametrize("state", _CASES)
def test_two_concurrent_writes_have_the_effect_of_a_sequence(database: Database, state: str) -> None:
    prepare, names = _CASES[state]
    database.write(prepare)
    before = database.read(all_rows)
    pairs = [*product(names.split(", "), repeat=2)]
    works = {pair: (_WORKS[pair[0]], _WORKS[pair[1]]) for pair in pairs}
    in_sequence = {pair: _run_in_sequence(database, works[pair]) for pair in pairs}
    with ThreadPoolExecutor(1) as pool:
        for first, second in pairs:
            outcomes, stored = in_sequence[second, first]
            allowed = [in_sequence[first, second], (outcomes[::-1], stored)]
            if second in _OF_SKIPPED:  # it skips rows that another transaction is changing
                allowed.append(_run_in_sequence(database, (_WORKS[first], _skipped(second))))
            assert _run_concurrently(database, pool, works[first, second]) in allowed, f"{first} and {second}"
            database.write(lambda session: _restore(session, before))


def _in_threads(count: int, act: Callable[[int], T]) -> list[T]:
    """Call a function with each number below `count`, in threads that start together."""
    barrier = Barrier(count, timeout=10)

    def run(number: int) -> T:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_one_of_many_concurrent_claims_succeeds(database: Database) -> None:
    # as when more workers were woken up than there are jobs
    job_id = queue_driver.submit(database)
    claims = _in_threads(20, lambda number: claim_next(database, owner=f"worker/{number}"))
    assert [claim.attempt for claim in claims if claim is not None] == [AttemptId(job_id, 1)]
    assert database.read(lambda session: session.scalar(select(func.count()).select_from(Attempt))) == 1
    assert database.read(lambda session: session.get_one(Job, job_id).version) == 2


def test_each_of_many_concurrent_claims_gets_another_job(database: Database) -> None:
    job_ids = [queue_driver.submit(database) for _ in range(40)]

    def claim_all(number: int) -> list[UUID]:
        claimed = []
        while claim := claim_next(database, worker=f"worker-{number}"):
            claimed.append(claim.attempt.job_id)
        return claimed

    shares = _in_threads(8, claim_all)
    # each worker claims in order, and together they claim every job once
    assert all(share == sorted(share) for share in shares)
    assert sorted(job_id for share in shares for job_id in share) == job_ids


def test_claims_do_not_wait_for_each_other(postgresql: Database) -> None:
    first, second = queue_driver.submit(postgresql), queue_driver.submit(postgresql)
    with Session(postgresql.engine) as held:
        assert (claim := _claim(held, "worker-2/1", now=FrozenClock(datetime.now(UTC)))) is not None
        assert claim.attempt.job_id == first
        other = claim_next(postgresql, worker="worker-3")
    assert other is not None
    assert other.attempt.job_id == second


def test_concurrent_submits_with_one_idempotency_key_create_one_job(database: Database) -> None:
    def submit(_number: int) -> Any:
        new = make_new_job()
        key = Idempotency("k", "a" * 64)
        return database.write(lambda session: submit_job(session, new, idempotency=key))

    results = _in_threads(50, submit)
    assert len({job_id for job_id, _ in results}) == 1
    assert sorted(created for _, created in results) == [False] * 49 + [True]
    assert database.read(lambda session: session.scalar(select(func.count()).select_from(Job))) == 1


def test_one_of_many_concurrent_requests_that_differ_wins_their_idempotency_key(database: Database) -> None:
    def submit(number: int) -> bool:
        new, key = make_new_job(), Idempotency("k", f"{number:064}")
        try:
            return database.write(lambda session: submit_job(session, new, idempotency=key))[1]
        except IdempotencyKeyReused:
            return False

    assert sum(_in_threads(10, submit)) == 1
    assert database.read(lambda session: session.scalar(select(func.count()).select_from(Job))) == 1


def _reap(session: Session) -> list[UUID]:
    return [lost.attempt.job_id for lost in recovery.reap(session, max_lost_attempts=3, lease_s=30.0)]


def test_concurrent_reaps_count_one_lost_attempt_per_job(database: Database) -> None:
    lost = [_expired(database, str(number)) for number in range(10)]
    reaped = _in_threads(4, lambda _: database.write(_reap))
    assert sorted(job_id for share in reaped for job_id in share) == sorted(lost)
    assert database.read(lambda session: set(session.scalars(select(Job.lost_attempts)))) == {1}


def test_an_open_transaction_of_one_job_does_not_block_the_reaping_of_others(
    postgresql: Database,
) -> None:
    locked, lost = _expired(postgresql, "1"), _expired(postgresql, "2")
    with postgresql.engine.connect() as connection:
        connection.execute(update(Job).where(Job.id == locked).values(phase=Phase.TRAINING))
        assert postgresql.write(_reap) == [lost]
    assert postgresql.write(_reap) == [locked]


def test_an_open_transaction_of_one_job_does_not_block_the_end_of_other_cancelled_jobs(
    postgresql: Database,
) -> None:
    locked, free = _released_after_a_cancel(postgresql), _released_after_a_cancel(postgresql)
    with postgresql.engine.connect() as connection:
        connection.execute(update(Job).where(Job.id == locked).values(name="another"))
        assert postgresql.write(recovery.end_cancelled) == [free]
    assert postgresql.write(recovery.end_cancelled) == [locked]


def test_concurrent_recoveries_never_wait_for_each_other(postgresql: Database) -> None:
    lost = [_expired(postgresql, str(number)) for number in range(20)]
    cancelled = [_released_after_a_cancel(postgresql) for _ in range(20)]

    def recover(session: Session) -> list[UUID]:
        session.execute(text("SET LOCAL lock_timeout = '1ms'"))  # whoever waits for a row fails
        return [*recovery.end_cancelled(session), *_reap(session)]

    recovered = _in_threads(4, lambda _: postgresql.write(recover))
    assert sorted(job_id for share in recovered for job_id in share) == sorted([*lost, *cancelled])


def _released_after_a_cancel(database: Database) -> UUID:
    """A queued job with a cancel request that its worker did not see before it released the job."""
    attempt = queue_driver.claim(database, queue_driver.submit(database)).attempt
    database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
    database.write(lambda session: attempts.release(session, attempt))
    return attempt.job_id


def _expired(database: Database, owner: str) -> UUID:
    """A running job whose lease has expired."""
    return queue_driver.claim(database, queue_driver.submit(database), owner=owner, lease_s=-1).attempt.job_id


def test_concurrent_writers_and_readers_get_no_lock_errors(database: Database) -> None:
    def act(number: int) -> int:
        count = 0
        for _ in range(10):
            if number % 2:
                queue_driver.submit(database)
            else:
                count += len(database.read(all_rows)["jobs"])
        return count

    _in_threads(8, act)
    assert database.read(lambda session: session.scalar(select(func.count()).select_from(Job))) == 40
