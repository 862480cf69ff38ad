"""No more jobs of a queue or of an API key run at the same time than may, also while that changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from threading import Event, Thread
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import IS_RUNNING, Job
from shared.schemas import ApiKeyUpdate, Scope, WaitingFor
from shared.store import api_keys, attempts, dispatch, limits, queues, waits
from shared.store.submissions import Submitter
from shared.store.submit import submit_job
from tests.support import factories, queue_driver, registry, stored
from tests.support.statements import ON_SQLITE, plan, recorded_statements

_THREADS = 8


def _key(database: Database, *, max_running: int | None = None) -> UUID:
    """Create an API key and return its id."""
    new = api_keys.NewApiKey.draw()
    create = partial(api_keys.create, key=new, name="Ada", scope=Scope.SUBMIT, max_running=max_running)
    database.write(create)
    return new.id


def _submit(database: Database, key: UUID | None = None, queue: str = "default") -> UUID:
    new = factories.make_new_job(queue=queue)
    database.write(lambda session: submit_job(session, new, submitter=Submitter(f"key {key}", key)))
    return new.id


def _limit(database: Database, max_running: int | None, queue: str = "default") -> None:
    database.write(partial(limits.limit_queue, queue=queue, max_running=max_running))


def _limit_key(database: Database, key: UUID, max_running: int | None) -> None:
    changes = ApiKeyUpdate(max_running=max_running)
    database.write(partial(api_keys.change, key_id=key, changes=changes))


def _claimed(database: Database, *queue_names: str) -> list[UUID]:
    """Claim until no job can start; return the ids of the jobs."""
    claims = iter(lambda: queue_driver.claim_next(database, *queue_names), None)
    return [claim.attempt.job_id for claim in claims]


def test_no_more_jobs_of_a_queue_run_than_may(database: Database) -> None:
    jobs = [_submit(database) for _ in range(4)]
    _limit(database, 2)
    assert _claimed(database) == jobs[:2]


def test_a_job_that_ends_makes_room_for_the_next(database: Database) -> None:
    jobs = [_submit(database) for _ in range(3)]
    _limit(database, 1)
    claim = queue_driver.claim_next(database)
    assert claim is not None
    queue_driver.succeed(database, claim.attempt, factories.make_model())
    assert _claimed(database) == [jobs[1]]


def test_a_queues_limit_holds_for_no_other_queue(database: Database) -> None:
    _submit(database)
    _submit(database)
    other = [_submit(database, queue="gpu") for _ in range(2)]
    _limit(database, 1)
    assert _claimed(database, "default", "gpu")[1:] == other


def test_no_more_jobs_of_a_key_run_than_may_and_others_pass_them(database: Database) -> None:
    limited, free = _key(database, max_running=1), _key(database)
    first, _, _ = (_submit(database, limited) for _ in range(3))
    others = [_submit(database, free), _submit(database)]
    assert _claimed(database) == [first, *others]


def test_a_keys_jobs_of_all_queues_count(database: Database) -> None:
    key = _key(database, max_running=2)
    jobs = [_submit(database, key, queue) for queue in ("default", "gpu", "gpu")]
    assert _claimed(database, "default", "gpu") == jobs[:2]


def test_jobs_within_limits_start_in_turns_each_tenants_in_the_order_of_their_places(
    database: Database,
) -> None:
    keys = [_key(database, max_running=9), None, _key(database)]
    jobs = {_submit(database, key): key for _, key in zip(range(9), cycle(keys), strict=False)}
    places = {job_id: stored.job(database, job_id).place for job_id in jobs}

    claimed = _claimed(database)

    # within a round whose turn it is depends on how long each one's jobs have run
    rounds = [{jobs[job_id] for job_id in claimed[start : start + 3]} for start in (0, 3, 6)]
    assert rounds == [set(keys)] * 3
    for key in keys:
        own = [job_id for job_id in claimed if jobs[job_id] == key]
        assert own == sorted(own, key=lambda job_id: (places[job_id], job_id))


def test_a_limit_that_is_removed_lets_all_start(database: Database) -> None:
    key = _key(database, max_running=1)
    _limit(database, 1)
    for _ in range(3):
        _submit(database, key)
    assert len(_claimed(database)) == 1
    _limit(database, None)
    assert len(_claimed(database)) == 0
    _limit_key(database, key, None)
    assert len(_claimed(database)) == 2


def test_a_paused_queue_starts_no_job_within_its_limit(database: Database) -> None:
    _submit(database)
    _limit(database, 1)
    database.write(lambda session: queues.pause(session, "default"))
    assert _claimed(database) == []


def test_a_claim_within_limits_that_is_run_again_finds_its_job(database: Database) -> None:
    _submit(database)
    _submit(database)
    _limit(database, 2)
    first = queue_driver.claim_next(database, owner="worker-1/1")
    assert queue_driver.claim_next(database, owner="worker-1/1") == first
    assert len(database.read(_attempts)) == 1


def test_waiting_for_a_limit_is_a_reason(database: Database) -> None:
    registry.worker(database, slots=9)
    key = _key(database, max_running=1)
    started, waiting, other = _submit(database, key), _submit(database, key), _submit(database)
    assert _claimed(database) == [started, other]
    assert _reason(database, waiting) is WaitingFor.KEY_LIMIT
    _limit(database, 2)
    assert _reason(database, waiting) is WaitingFor.QUEUE_LIMIT
    _limit(database, 3)
    _limit_key(database, key, 2)
    assert _reason(database, waiting) is None


def _reason(database: Database, job_id: UUID) -> WaitingFor | None:
    return database.read(lambda session: waits.of_job(session, session.get_one(Job, job_id)).waiting_for)


def test_workers_are_not_woken_up_for_jobs_that_wait_for_limits(database: Database) -> None:
    key = _key(database, max_running=1)
    for _ in range(3):
        _submit(database, key)
    due = partial(dispatch.due, queues=["default"], limit=9)
    assert database.read(due) == {"default": 3}
    _claimed(database)
    assert database.read(due) == {}
    _submit(database)
    assert database.read(due) == {"default": 1}
    _limit(database, 1)
    assert database.read(due) == {}


def test_jobs_that_limits_let_start_are_as_many_messages(database: Database) -> None:
    _submit(database, _key(database, max_running=2))
    due = database.read(partial(dispatch.due, queues=["default"], limit=9))
    # a PostgreSQL that sums counts returns a Decimal
    assert [(queue, count, type(count)) for queue, count in due.items()] == [("default", 1, int)]


def test_a_queues_limit_is_told_with_its_load(database: Database) -> None:
    _submit(database)
    _limit(database, 3)
    queue = database.read(lambda session: queues.get(session, "default"))
    assert queue.max_running == 3


@pytest.mark.parametrize(
    ("running", "max_running", "desired"), [(0, 2, 2), (3, 2, 3), (0, 9, 5), (0, None, 5)]
)
def test_no_worker_is_wanted_for_jobs_beyond_the_limit(
    running: int, max_running: int | None, desired: int, database: Database
) -> None:
    for _ in range(5):
        _submit(database)
    for _ in range(running):
        queue_driver.claim_next(database)
    _limit(database, max_running)
    assert database.read(lambda session: queues.load(queues.get(session, "default"))).desired == desired


@ON_SQLITE
def test_the_next_job_within_limits_is_found_by_an_index_of_the_keys(database: Database) -> None:
    for max_running in (1, None):
        key = _key(database, max_running=max_running)
        for _ in range(2):
            submit = partial(submit_job, new=factories.make_new_job(), submitter=Submitter("team red", key))
            database.write(submit)
    assert queue_driver.claim_next(database) is not None
    with recorded_statements(database) as statements:
        assert queue_driver.claim_next(database) is not None
    [of_keys] = [each for each in statements if "FROM api_keys \nWHERE (api_keys.id NOT IN" in each.sql]
    found = plan(database, of_keys)
    assert "SEARCH jobs USING INDEX ix_jobs_of_key (api_key_id=? AND state=? AND queue=?)" in found
    assert "SCAN jobs" not in found


@contextmanager
def _claiming(database: Database) -> Iterator[list[UUID]]:
    """Have eight threads claim jobs of two queues and release them; yield the jobs that they have claimed."""
    claimed: list[UUID] = []
    errors: list[Exception] = []
    is_over = Event()

    def run(worker: str, *queue_names: str) -> None:
        try:
            while not is_over.is_set():
                claim = queue_driver.claim_next(database, *queue_names, worker=worker)
                if claim is None:
                    is_over.wait(0.01)
                    continue
                claimed.append(claim.attempt.job_id)
                database.write(partial(attempts.release, attempt=claim.attempt))
        except Exception as error:
            errors.append(error)

    orders = cycle([("default", "gpu"), ("gpu", "default")])
    workers = [(f"worker-{number}", *next(orders)) for number in range(_THREADS)]
    threads = [Thread(target=run, args=worker) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield claimed
    finally:
        is_over.set()
        for thread in threads:
            thread.join(30)
    assert errors == []


def _attempts(session: Session) -> set[tuple[UUID, int]]:
    """Return the running attempts."""
    return {(row.id, row.attempt) for row in session.execute(select(Job.id, Job.attempt).where(IS_RUNNING))}


@pytest.mark.parametrize("of", ["queue", "key"])
def test_no_claim_exceeds_a_limit_that_is_changed_while_eight_threads_claim(
    of: str, database: Database
) -> None:
    key = _key(database)
    for _ in range(2 * _THREADS):
        _submit(database, key)
        if of == "key":
            _submit(database, key, "gpu")

    def change(session: Session, max_running: int | None) -> set[tuple[UUID, int]]:
        if of == "queue":
            limits.limit_queue(session, "default", max_running)
        else:
            api_keys.change(session, key, ApiKeyUpdate(max_running=max_running))
        return _attempts(session)

    with _claiming(database) as claimed:
        for max_running in (4, 1, None, 2, None, 1):
            already = database.write(partial(change, max_running=max_running))
            enough = len(claimed) + 40
            while len(claimed) < enough:
                running = database.read(_attempts)
                # each claim since then has found room; what ran before may still run
                assert max_running is None or running <= already or len(running) <= max_running
                Event().wait(0.002)  # else the threads would hardly run
