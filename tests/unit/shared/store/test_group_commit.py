"""Group commit: concurrent submissions share a transaction, and each gets its own result."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from threading import Event
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Job, JobEvent
from shared.errors import IdempotencyKeyReused, JobNotFound
from shared.store import group_commit
from shared.store.group_commit import GroupCommit, NotCommitted
from shared.store.idempotency import Idempotency
from shared.store.submissions import NewJobs, Receipt
from tests.support.databases import open_database
from tests.support.factories import make_new_job
from tests.support.statements import ON_SQLITE, recorded_statements
from tests.support.waiting import wait_until

T = TypeVar("T")

KEY = Idempotency("k", "a" * 64)


class _Workers:
    """Records who was woken, and holds the writer there while `may_return` is not set."""

    def __init__(self) -> None:
        self.woken: list[Mapping[str, int]] = []
        self.may_return = Event()
        self.may_return.set()

    def wake(self, queues: Mapping[str, int]) -> None:
        self.woken.append(queues)
        assert self.may_return.wait(20)


@pytest.fixture
def workers() -> Iterator[_Workers]:
    workers = _Workers()
    yield workers
    workers.may_return.set()


@pytest.fixture
def submissions(database: Database, workers: _Workers) -> Iterator[GroupCommit]:
    with closing(GroupCommit(database, workers.wake)) as submissions:
        yield submissions
        workers.may_return.set()


@pytest.fixture
def hold(submissions: GroupCommit, workers: _Workers) -> Callable[[], None]:
    """Keeps the writer busy with a first job until the workers may return."""

    def hold() -> None:
        workers.may_return.clear()
        submissions.submit(_new(queue="first"))
        wait_until(lambda: workers.woken, "the writer wakes the workers of the first job")

    return hold


def _new(key: Idempotency | None = None, **options: Any) -> NewJobs:
    return NewJobs([make_new_job(**options)], key)


def _waiting(submissions: GroupCommit, count: int) -> None:
    wait_until(lambda: submissions.waiting == count, f"{count} submissions wait")


def _together(
    submissions: GroupCommit, workers: _Workers, hold: Callable[[], None], new: Sequence[NewJobs]
) -> list[Receipt | Exception]:
    """Submit in this order while the writer is busy; return the receipts, or the errors."""
    hold()
    with ThreadPoolExecutor(len(new)) as pool:
        results: list[Future[Receipt]] = []
        for request in new:
            results.append(pool.submit(submissions.submit, request))
            _waiting(submissions, len(results))
        workers.may_return.set()
        return [result.exception() or result.result() for result in results]  # type: ignore[misc]


def _stored(database: Database) -> list[UUID]:
    """The ids of all jobs except the first one, in the order of their events."""
    statement = (
        select(Job.id)
        .join(JobEvent, JobEvent.job_id == Job.id)
        .where(Job.queue != "first")
        .order_by(JobEvent.position, JobEvent.job_id)
    )
    return database.read(lambda session: list(session.scalars(statement)))


def test_a_lone_submission_is_stored_and_its_workers_are_woken(
    submissions: GroupCommit, workers: _Workers, database: Database
) -> None:
    new = NewJobs([make_new_job(queue="gpu"), make_new_job(queue="gpu"), make_new_job()])

    receipt = submissions.submit(new)

    assert (receipt.job_id, receipt.replayed) == (new.id, False)
    assert _stored(database) == [job.id for job in new.jobs]
    wait_until(lambda: workers.woken == [{"gpu": 2, "default": 1}], "the workers are woken")


def test_submissions_that_wait_are_stored_together_in_their_order(
    submissions: GroupCommit, workers: _Workers, hold: Callable[[], None], database: Database
) -> None:
    new = [_new(queue=f"queue-{number % 2}") for number in range(20)]

    with recorded_statements(database) as statements:
        receipts = _together(submissions, workers, hold, new)

    assert [receipt.job_id for receipt in receipts if isinstance(receipt, Receipt)] == [n.id for n in new]
    assert _stored(database) == [n.id for n in new]
    inserts = Counter(s.sql.split()[2] for s in statements if s.sql.startswith("INSERT"))
    # the first job's, and the others': of each queue and each tenant of it
    assert inserts == {"jobs": 2, "job_events": 2}
    wait_until(lambda: workers.woken[1:] == [{"queue-0": 10, "queue-1": 10}], "they are woken at once")


@ON_SQLITE
@pytest.mark.parametrize("jobs", [1, 50])
def test_a_group_takes_four_statements_and_one_more_for_keys_however_many_jobs_it_has(
    database: Database, workers: _Workers, jobs: int
) -> None:
    with closing(GroupCommit(database, workers.wake)) as submissions:
        workers.may_return.clear()
        submissions.submit(_new())
        with recorded_statements(database) as statements, ThreadPoolExecutor(jobs) as pool:
            new = [_new(Idempotency(str(number), "a" * 64)) for number in range(jobs)]
            results = [pool.submit(submissions.submit, request) for request in new]
            _waiting(submissions, jobs)
            workers.may_return.set()
            assert not any(result.result().replayed for result in results)
    sent = [statement.sql for statement in statements if not statement.sql.startswith("PRAGMA")]
    assert len(sent) == 6, sent  # one of them begins the transaction


def test_a_thousand_submissions_of_one_key_store_one_job(database: Database, workers: _Workers) -> None:
    async def submit_all() -> list[Receipt]:
        with closing(GroupCommit(database, workers.wake)) as submissions:
            return await asyncio.gather(*(submissions.submit_async(_new(KEY)) for _ in range(1_000)))

    receipts = asyncio.run(submit_all())

    [job_id] = _stored(database)
    assert {receipt.job_id for receipt in receipts} == {job_id}
    assert sum(not receipt.replayed for receipt in receipts) == 1
    assert workers.woken == [{"default": 1}]


def test_a_thousand_submissions_of_one_key_in_one_group_store_one_job(
    submissions: GroupCommit,
    workers: _Workers,
    hold: Callable[[], None],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "_MAX_JOBS", 1_000)
    monkeypatch.setattr(group_commit, "WAIT_S", 30)

    async def submit_all() -> list[Receipt]:
        tasks = [asyncio.create_task(submissions.submit_async(_new(KEY))) for _ in range(1_000)]
        await asyncio.to_thread(_waiting, submissions, 1_000)
        workers.may_return.set()
        return await asyncio.gather(*tasks)

    hold()
    with recorded_statements(database) as statements:
        receipts = asyncio.run(submit_all())

    assert {receipt.job_id for receipt in receipts} == set(_stored(database))
    assert [receipt.replayed for receipt in receipts] == [False] + [True] * 999
    inserts = Counter(s.sql.split()[2] for s in statements if s.sql.startswith("INSERT"))
    assert inserts == dict.fromkeys(("idempotency_keys", "jobs", "job_events"), 1)


def test_a_key_that_is_reused_in_a_group_fails_alone(
    submissions: GroupCommit, workers: _Workers, hold: Callable[[], None], database: Database
) -> None:
    first, replay, reuse, other = _new(KEY), _new(KEY), _new(Idempotency("k", "b" * 64)), _new()

    receipts = _together(submissions, workers, hold, [first, replay, reuse, other])

    assert isinstance(receipts[2], IdempotencyKeyReused)
    assert [r.replayed for r in receipts if isinstance(r, Receipt)] == [False, True, False]
    assert _stored(database) == [first.id, other.id]


@pytest.mark.parametrize(
    ("poison", "error"),
    [({"kind": "bake"}, IntegrityError), ({"retry_of": uuid4()}, JobNotFound)],
    ids=["CHECK", "no source"],
)
def test_a_submission_that_the_database_refuses_fails_alone(
    submissions: GroupCommit,
    workers: _Workers,
    hold: Callable[[], None],
    database: Database,
    poison: dict[str, Any],
    error: type[Exception],
) -> None:
    new = [_new(Idempotency(str(number), "a" * 64)) for number in range(9)]
    new[5] = _new(Idempotency("5", "a" * 64), **poison)

    receipts = _together(submissions, workers, hold, new)

    assert isinstance(receipts.pop(5), error)
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    assert _stored(database) == [n.id for n in new if n is not new[5]]
    assert not submissions.submit(_new(Idempotency("5", "a" * 64))).replayed  # its key is free


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("COMMIT", {}, psycopg.OperationalError("the server is gone")),
        IntegrityError("COMMIT", {}, psycopg.IntegrityError("of whichever of them")),
    ],
    ids=["tried again together", "tried again one by one"],
)
def test_submissions_whose_commit_was_not_confirmed_are_found(
    database_url: str, workers: _Workers, error: Exception
) -> None:
    lost: list[Exception] = []

    def lose_reply(_session: Session) -> None:
        if lost:
            raise lost.pop()

    with (
        open_database(database_url, committed=lose_reply) as database,
        closing(GroupCommit(database, workers.wake)) as submissions,
        ThreadPoolExecutor(2) as pool,
    ):
        workers.may_return.clear()
        submissions.submit(_new(queue="first"))
        new = [_new(), _new(KEY)]
        receipts = [pool.submit(submissions.submit, request) for request in new]
        _waiting(submissions, 2)
        lost.append(error)
        workers.may_return.set()
        outcomes = [each.result() for each in receipts]
        assert [(each.job_id, each.replayed) for each in outcomes] == [(n.id, False) for n in new]
        assert sorted(_stored(database)) == sorted(n.id for n in new)


def test_a_submission_that_is_cancelled_while_it_waits_is_not_stored(
    submissions: GroupCommit, workers: _Workers, hold: Callable[[], None], database: Database
) -> None:
    cancelled, kept = _new(), _new()

    async def submit() -> Receipt:
        tasks = [asyncio.create_task(submissions.submit_async(new)) for new in (cancelled, kept)]
        await asyncio.to_thread(_waiting, submissions, 2)
        tasks[0].cancel()
        with suppress(asyncio.CancelledError):
            await tasks[0]
        workers.may_return.set()
        return await tasks[1]

    hold()
    assert asyncio.run(submit()).job_id == kept.id
    assert _stored(database) == [kept.id]


def test_a_submission_that_has_waited_too_long_is_given_up_and_not_stored(
    submissions: GroupCommit,
    workers: _Workers,
    hold: Callable[[], None],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold()
    with monkeypatch.context() as patched:
        patched.setattr(group_commit, "WAIT_S", 0.01)
        with pytest.raises(NotCommitted, match=r"within 0.01 s"):
            submissions.submit(_new())
        with pytest.raises(NotCommitted, match=r"within 0.01 s"):
            asyncio.run(submissions.submit_async(_new()))
    workers.may_return.set()
    last = submissions.submit(_new())
    assert _stored(database) == [last.job_id]


def test_submissions_beyond_the_limit_are_refused_at_once(
    submissions: GroupCommit, workers: _Workers, hold: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_MAX_WAITING", 2)
    hold()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(submissions.submit, _new()) for _ in range(2)]
        _waiting(submissions, 2)
        with pytest.raises(NotCommitted, match="too many"):
            submissions.submit(_new())
        workers.may_return.set()
        assert not any(result.result().replayed for result in waiting)


def test_a_group_has_a_limited_number_of_jobs(
    submissions: GroupCommit,
    workers: _Workers,
    hold: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "_MAX_JOBS", 3)
    sweep = NewJobs([make_new_job() for _ in range(5)])

    _together(submissions, workers, hold, [_new(), _new(), sweep, _new(), _new(), _new(), _new()])

    wait_until(lambda: len(workers.woken) == 4, "all groups are committed")
    assert [queues["default"] for queues in workers.woken[1:]] == [7, 3, 1]


class _UnavailableDatabase(Database):
    """A database of which a group's transaction reports this error."""

    error: Exception | None = None
    writes = 0

    def write(self, work: Callable[[Session], T]) -> T:
        self.writes += 1
        if self.error is not None:
            raise self.error
        return super().write(work)


def test_an_outage_of_the_database_is_reported_to_each_caller_after_one_try(
    sqlite_url: str, workers: _Workers
) -> None:
    database = _UnavailableDatabase(sqlite_url)
    lost = OperationalError("COMMIT", None, psycopg.OperationalError("the server is gone"))

    async def submit_all() -> Sequence[Receipt | BaseException]:
        with closing(GroupCommit(database, workers.wake)) as submissions:
            await submissions.submit_async(_new())
            database.error = lost
            return await asyncio.gather(
                *(submissions.submit_async(_new()) for _ in range(5)), return_exceptions=True
            )

    assert asyncio.run(submit_all()) == [lost] * 5
    assert database.writes < 1 + 5 + 1
    database.dispose()


def test_what_waits_when_it_is_closed_is_committed_and_nothing_afterwards(
    database: Database, workers: _Workers
) -> None:
    submissions = GroupCommit(database, workers.wake)
    workers.may_return.clear()
    submissions.submit(_new())
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(submissions.submit, _new()) for _ in range(3)]
        _waiting(submissions, 3)
        closed = pool.submit(submissions.close)
        _waiting(submissions, 4)
        workers.may_return.set()
        closed.result()
        assert not any(result.result().replayed for result in waiting)
    assert len(_stored(database)) == 4
    with pytest.raises(NotCommitted, match="about to end"):
        submissions.submit(_new())
