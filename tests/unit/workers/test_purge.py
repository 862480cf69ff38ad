"""A worker deletes what is past its retention, in small transactions, and keeps the rest."""

import threading
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import registry, stored
from tests.support.fakes import MonotonicClock
from tests.support.queue_driver import cancelled, failed, submit, succeeded
from tests.support.waiting import wait_until
from workers import purge
from workers.purge import Purge


def in_a_minute(offset_s: float = 0.0, /) -> ColumnElement[datetime]:
    return database_now(offset_s + 60)


def make_purge(database: Database, settings: Settings, clock: MonotonicClock, **retention: Any) -> Purge:
    """The purge of a worker to which what has ended now is a minute old."""
    changed = settings.model_copy(update={"idempotency_retention_s": 0.0, **retention})
    return Purge(database, changed, now=in_a_minute, clock=clock)


@pytest.fixture
def clock() -> MonotonicClock:
    return MonotonicClock()


def alias(database: Database, job_id: UUID, name: str | None) -> None:
    model_id = stored.job(database, job_id).model_id
    assert model_id is not None
    registry.change_model(database, model_id, alias=name)


def test_each_thing_has_its_own_retention(
    database: Database, settings: Settings, clock: MonotonicClock
) -> None:
    succeeded(database)
    submit(database)
    counts = []
    for retention in ({"job_retention_s": 61.0}, {"model_retention_s": 59.0}, {"job_retention_s": 59.0}):
        counts.append(make_purge(database, settings, clock, **retention).purge())
    assert counts == [{"jobs": 0}, {"models": 1}, {"jobs": 1}]
    assert stored.count_jobs(database) == 1


def test_by_default_all_but_idempotency_keys_is_kept(settings: Settings) -> None:
    retentions = {
        name: value for name, value in settings.model_dump().items() if name.endswith("retention_s")
    }
    assert retentions == {
        "worker_retention_s": 86_400.0,
        "job_retention_s": 0.0,
        "model_retention_s": 0.0,
        "log_retention_s": 0.0,
        "idempotency_retention_s": 30 * 86_400.0,
    }


def test_a_backlog_is_deleted_in_many_transactions(
    database: Database, settings: Settings, clock: MonotonicClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_MIN_BATCH", 2)
    monkeypatch.setattr(purge, "_MAX_BATCH", 2)
    ids = [cancelled(database) for _ in range(7)]
    assert make_purge(database, settings, clock, job_retention_s=59.0).purge() == {"jobs": len(ids)}


@pytest.mark.parametrize(
    ("seconds_a_job", "sizes"),
    [
        (0.00001, [20, 40, 80, 160, 320, 640, 1_000]),
        (0.0001, [20, 40, 80, 160, 200, 200, 200]),
        (0.002, [20, 20, 20, 20, 20, 20, 20]),
    ],
)
def test_transactions_are_as_long_as_they_may_be(
    database: Database,
    settings: Settings,
    clock: MonotonicClock,
    monkeypatch: pytest.MonkeyPatch,
    seconds_a_job: float,
    sizes: list[int],
) -> None:
    limits: list[int] = []

    def delete(_session: Any, limit: int, **_options: Any) -> tuple[list[None], int]:
        limits.append(limit)
        clock.advance(seconds_a_job * limit)
        return [None] * (limit if len(limits) < len(sizes) else 0), limit

    monkeypatch.setattr(purge, "_delete", delete)
    monkeypatch.setattr(purge, "_REST", 0.0)
    # on PostgreSQL nobody waits for them, so that they may be longer
    longer = purge.TRANSACTION_S[database.engine.dialect.name] / purge.TRANSACTION_S["sqlite"]
    seconds_a_job *= longer
    make_purge(database, settings, clock, job_retention_s=59.0).purge()
    assert limits == sizes


def test_others_get_three_quarters_of_the_time(
    database: Database, settings: Settings, clock: MonotonicClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []

    class Recording(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            return len(pauses) == 3

    def delete(_session: Any, limit: int, **_options: Any) -> tuple[list[None], int]:
        clock.advance(0.02)
        return [None] * (limit if len(pauses) < 3 else 0), limit

    monkeypatch.setattr(purge, "_delete", delete)
    purging = make_purge(database, settings, clock, job_retention_s=59.0)
    purging._stop_requested = Recording()
    purging.purge()
    assert pauses == [pytest.approx(0.06)] * 3


def test_jobs_that_were_kept_for_their_model_are_looked_at_again_after_an_hour(
    database: Database, settings: Settings, clock: MonotonicClock
) -> None:
    kept, _ = succeeded(database)
    alias(database, kept, "champion")
    purging = make_purge(database, settings, clock, job_retention_s=59.0)
    assert purging.purge() == {"jobs": 0}
    alias(database, kept, None)
    failed(database)
    assert purging.purge() == {"jobs": 1}
    clock.advance(3_600)
    assert purging.purge() == {"jobs": 1}
    assert stored.count_jobs(database) == 0


def test_a_thread_purges_until_it_is_stopped(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_INTERVAL_S", 0.01)
    cancelled(database)
    purging = make_purge(database, settings, MonotonicClock(), job_retention_s=59.0)
    purging.start()
    wait_until(lambda: stored.count_jobs(database) == 0, "the job is deleted")
    cancelled(database)
    wait_until(lambda: stored.count_jobs(database) == 0, "another one is deleted")
    purging.stop()
    submit(database)
    assert stored.count_jobs(database) == 1


def test_a_failing_purge_goes_on(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_INTERVAL_S", 0.01)
    works = purge._delete
    failures = iter([RuntimeError("it broke")])

    def fail_once(*args: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return works(*args, **options)

    monkeypatch.setattr(purge, "_delete", fail_once)
    cancelled(database)
    purging = make_purge(database, settings, MonotonicClock(), job_retention_s=59.0)
    purging.start()
    wait_until(lambda: stored.count_jobs(database) == 0, "the job is deleted after the failure")
    purging.stop()


def test_without_a_retention_nothing_runs(
    database: Database, settings: Settings, clock: MonotonicClock
) -> None:
    purging = make_purge(database, settings, clock)
    purging.start()
    purging.stop()
    assert purging.purge() == {}
