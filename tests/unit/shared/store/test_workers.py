"""Workers are listed once each, counted by state, drained, and pruned after the retention."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from shared import schemas
from shared.db.engine import Database
from shared.db.tables import Attempt, Worker
from shared.errors import WorkerNotFound, WorkerStopped
from shared.lifecycle import WorkerState
from shared.store import attempts, workers
from shared.store.workers import WorkerKey
from tests.support import factories, queue_driver, registry
from tests.support.fakes import FrozenClock
from tests.support.statements import ON_SQLITE, plan, selects

_RETENTION_S = 3_600.0
_LATER = datetime(2126, 1, 2, tzinfo=UTC)  # when whatever was submitted is due


def _times(clock: FrozenClock, seconds_ago: float) -> dict[str, Any]:
    moment = clock.moment - timedelta(seconds=seconds_ago)
    return {"started_at": moment, "heartbeat_at": moment}


def _get(database: Database, clock: FrozenClock, worker_id: str = "worker-1") -> schemas.Worker:
    return database.read(lambda session: workers.get(session, worker_id, now=clock))


def _page(
    database: Database, clock: FrozenClock, *, after: WorkerKey | None = None, limit: int = 99
) -> list[tuple[WorkerKey, schemas.Worker]]:
    return database.read(partial(workers.page, after=after, limit=limit, now=clock))


def _listed(database: Database, clock: FrozenClock, limit: int) -> list[str]:
    ids: list[str] = []
    after: WorkerKey | None = None
    while rows := _page(database, clock, after=after, limit=limit):
        ids += [worker.id for _, worker in rows]
        after = rows[-1][0]
    return ids


def _ids(database: Database) -> set[str]:
    return set(database.read(lambda session: session.scalars(select(Worker.id)).all()))


def _prune(database: Database, clock: FrozenClock) -> list[str]:
    return database.write(partial(workers.prune, retention_s=_RETENTION_S, now=clock))


@pytest.mark.parametrize("limit", [1, 2, 3, 99])
def test_workers_are_listed_last_seen_first_each_once(database: Database, limit: int) -> None:
    clock = FrozenClock()
    for name, seconds_ago in (("d", 9_000.0), ("e", 61), ("c", 61), ("b", 59), ("a", 1)):
        registry.worker(database, id=name, **_times(clock, seconds_ago))
    assert _listed(database, clock, limit) == ["a", "b", "c", "e", "d"]


def test_heartbeats_between_two_pages_do_not_change_the_order(database: Database) -> None:
    clock = FrozenClock()
    for name in "abcdef":
        registry.worker(database, id=name, **_times(clock, 5))
    first = _page(database, clock, limit=2)
    clock.advance(120)
    database.write(lambda session: session.execute(update(Worker).values(heartbeat_at=clock())))
    rest = _page(database, clock, after=first[-1][0])
    assert [worker.id for _, worker in first + rest] == list("abcdef")


def test_the_age_of_a_heartbeat_is_not_negative(database: Database) -> None:
    clock = FrozenClock()
    registry.worker(database, **_times(clock, -0.5))
    assert _get(database, clock).heartbeat_age_s == 0


_STATES = [
    (WorkerState.ONLINE, 44.9, WorkerState.ONLINE),
    (WorkerState.ONLINE, 45.1, WorkerState.LOST),
    (WorkerState.DRAINING, 46, WorkerState.LOST),
    (WorkerState.DRAINING, 1, WorkerState.DRAINING),
    (WorkerState.STOPPED, 999, WorkerState.STOPPED),
]


@pytest.mark.parametrize(("stored", "seconds_ago", "state"), _STATES)
def test_a_worker_without_a_heartbeat_for_too_long_is_lost(
    database: Database, stored: WorkerState, seconds_ago: float, state: WorkerState
) -> None:
    clock = FrozenClock()
    registry.worker(database, state=stored, lost_after_s=45.0, **_times(clock, seconds_ago))
    worker = _get(database, clock)
    assert (worker.state, worker.heartbeat_age_s) == (state, seconds_ago)


def test_workers_are_counted_by_state(database: Database) -> None:
    clock = FrozenClock()
    for number, (stored, seconds_ago, _) in enumerate(_STATES):
        registry.worker(database, id=f"worker-{number}", state=stored, **_times(clock, seconds_ago))
    counts = database.read(partial(workers.count_by_state, now=clock))
    assert counts == dict.fromkeys(WorkerState, 1) | {WorkerState.LOST: 2}


def test_a_worker_is_listed_with_its_running_jobs(database: Database) -> None:
    clock = FrozenClock()
    registry.worker(database, slots=2, **_times(clock, 1))
    registry.worker(database, id="idle", **_times(clock, 1))
    running = queue_driver.running(database).job_id
    queue_driver.succeeded(database)
    listed = {worker.id: worker for _, worker in _page(database, clock)}
    assert (listed["worker-1"].jobs, listed["worker-1"].busy_slots) == ((running,), 1)
    assert (listed["idle"].jobs, listed["idle"].busy_slots) == ((), 0)


@ON_SQLITE
def test_running_jobs_of_workers_are_read_without_their_other_attempts(database: Database) -> None:
    *_, jobs = selects(database, partial(workers.page, limit=9))
    assert "SEARCH jobs USING" in plan(database, jobs)
    assert "ix_attempts_worker" not in plan(database, jobs)


def test_an_unknown_worker_is_not_found(database: Database) -> None:
    with pytest.raises(WorkerNotFound, match="nobody"):
        database.read(partial(workers.get, worker_id="nobody"))
    with pytest.raises(WorkerNotFound, match="nobody"):
        database.write(partial(workers.drain, worker_id="nobody"))


def test_a_stopped_worker_cannot_be_undrained(database: Database) -> None:
    worker = registry.worker(database, state=WorkerState.STOPPED)
    with pytest.raises(WorkerStopped):
        database.write(partial(workers.undrain, worker_id=worker))
    assert database.read(lambda session: session.get_one(Worker, worker).state) == WorkerState.STOPPED


def test_workers_that_stopped_or_were_lost_before_the_retention_are_pruned(database: Database) -> None:
    clock = FrozenClock()
    old, recent = _times(clock, _RETENTION_S + 1), _times(clock, _RETENTION_S - 1)
    for name, values in {
        "stopped": {"state": WorkerState.STOPPED, **old},
        "lost": {"state": WorkerState.ONLINE, **old},
        "lost while draining": {"state": WorkerState.DRAINING, **old},
        "of an old version": {"state": WorkerState.ONLINE, "lost_after_s": None, **old},
        "stopped recently": {"state": WorkerState.STOPPED, **recent},
        "lost recently": {"state": WorkerState.ONLINE, **recent},
        "slow": {"state": WorkerState.ONLINE, "lost_after_s": 2 * _RETENTION_S, **old},
        "online": _times(clock, 1),
    }.items():
        registry.worker(database, id=name, **values)

    assert _prune(database, clock) == ["lost", "lost while draining", "of an old version", "stopped"]

    assert _ids(database) == {"stopped recently", "lost recently", "slow", "online"}
    assert _prune(database, clock) == []


def test_a_worker_that_holds_a_running_jobs_attempt_is_not_pruned(database: Database) -> None:
    clock = FrozenClock()
    worker = registry.worker(database, **_times(clock, _RETENTION_S + 1))
    attempt = queue_driver.running(database)
    assert _prune(database, clock) == []
    queue_driver.succeed(database, attempt, factories.make_model())
    assert _prune(database, clock) == [worker]
    assert database.read(lambda session: session.get_one(Attempt, (attempt.job_id, 1)).worker) == worker


def test_workers_are_pruned_in_bounded_transactions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_MAX_PRUNED", 2)
    clock = FrozenClock()
    for number in range(5):
        registry.worker(database, id=f"worker-{number}", **_times(clock, _RETENTION_S + 1))
    assert [len(_prune(database, clock)) for _ in range(4)] == [2, 2, 1, 0]


def test_concurrent_transactions_prune_each_worker_once(database: Database) -> None:
    clock = FrozenClock()
    for number in range(20):
        registry.worker(database, id=f"worker-{number}", **_times(clock, _RETENTION_S + 1))
    with ThreadPoolExecutor(4) as threads:
        pruned = list(threads.map(lambda _: _prune(database, clock), range(8)))
    assert sorted(worker for ids in pruned for worker in ids) == sorted(f"worker-{n}" for n in range(20))
    assert _ids(database) == set()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_worker_whose_heartbeat_is_being_written_is_not_pruned(database: Database) -> None:
    clock = FrozenClock()
    worker = registry.worker(database, **_times(clock, _RETENTION_S + 1))
    with database.engine.begin() as connection:
        connection.execute(update(Worker).values(heartbeat_at=clock()))
        assert _prune(database, clock) == []
    assert _ids(database) == {worker}


def _history(database: Database, worker: str = "worker-1", **page: Any) -> list[tuple[Any, Any]]:
    return database.read(partial(workers.history, worker_id=worker, **{"limit": 99, **page}))


def test_the_history_of_a_worker_is_its_attempts_the_last_started_first(database: Database) -> None:
    clock = FrozenClock(_LATER)
    first, second = queue_driver.submit(database, name="first"), queue_driver.submit(database)
    queue_driver.claim(database, second, now=clock)
    clock.advance(10)
    attempt = queue_driver.claim(database, first, now=clock).attempt
    clock.advance(10)
    database.write(lambda session: attempts.release(session, attempt, now=clock))
    queue_driver.claim(database, first, now=clock)
    queue_driver.claim(database, queue_driver.submit(database), worker="worker-2")

    rows = [row for _, row in _history(database)]

    assert [(row.job_id, row.number, row.outcome) for row in rows] == [
        (first, 2, None),
        (first, 1, "released"),
        (second, 1, None),
    ]
    assert (rows[1].name, rows[1].kind, rows[1].device) == ("first", "train", "CPU")
    assert rows[1].finished_at == rows[0].started_at


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_history_is_read_page_by_page(database: Database, limit: int) -> None:
    clock = FrozenClock(_LATER)  # which stands still: the jobs' ids decide
    jobs = [queue_driver.submit(database) for _ in range(5)]
    ids = [queue_driver.claim(database, job_id, now=clock).attempt.job_id for job_id in jobs]

    listed, after = [], None
    while rows := _history(database, after=after, limit=limit):
        listed += [row.job_id for _, row in rows]
        after = rows[-1][0]

    assert listed == sorted(ids, reverse=True)


def test_the_history_of_a_worker_outlasts_its_row(database: Database) -> None:
    queue_driver.running(database)
    assert len(_history(database)) == 1, "it never registered"
    with pytest.raises(WorkerNotFound):
        _history(database, "nobody")
    registry.worker(database, id="idle")
    assert _history(database, "idle") == []


@ON_SQLITE
def test_a_history_reads_only_the_attempts_of_its_page(database: Database) -> None:
    queue_driver.running(database)
    [read] = selects(database, partial(workers.history, worker_id="worker-1", limit=10))
    steps = plan(database, read)
    assert "ix_attempts_worker_started_at (worker=?)" in steps
    assert "TEMP B-TREE" not in steps
