"""One job, or one step of a round, that always fails keeps the reconciler from nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.settings import Settings
from tests.support import stored
from tests.support.fakes import MovableClock, RecordingWaker
from tests.support.queue_driver import claim, running, submit
from tests.support.stored import set_columns
from workers.reconciler import Reconciler

_POISON = {
    "sqlite": [
        "CREATE TRIGGER poison BEFORE UPDATE OF state ON jobs WHEN OLD.id = x'{id.hex}' "
        "BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'poisoned' USING ERRCODE = '{sqlstate}'; END $$",
        "CREATE TRIGGER poison BEFORE UPDATE OF state ON jobs FOR EACH ROW WHEN (OLD.id = '{id}') "
        "EXECUTE FUNCTION poison()",
    ],
}
_ANTIDOTE = {"sqlite": ["DROP TRIGGER poison"], "postgresql": ["DROP FUNCTION poison() CASCADE"]}


def _execute(database: Database, *statements: str) -> None:
    with database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@contextmanager
def _poisoned(database: Database, job_id: UUID, sqlstate: str = "P0001") -> Iterator[None]:
    """Have the database refuse every change of a job's state."""
    dialect = database.engine.dialect.name
    values = {"{id.hex}": job_id.hex, "{id}": str(job_id), "{sqlstate}": sqlstate}
    statements = _POISON[dialect]
    for name, value in values.items():
        statements = [each.replace(name, value) for each in statements]
    _execute(database, *statements)
    yield
    _execute(database, *_ANTIDOTE[dialect])


def _rounds_over_a_lease(reconciler: Reconciler, clock: MovableClock, settings: Settings) -> None:
    for share in (0.0, 0.5, 1.0):
        clock.ahead_s = settings.lease_s * share
        reconciler.reconcile()


@pytest.fixture
def waker() -> RecordingWaker:
    return RecordingWaker()


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def reconciler(
    database: Database, waker: RecordingWaker, live_settings: Settings, clock: MovableClock
) -> Reconciler:
    return Reconciler(database.with_patience(0.0), waker, live_settings, free_slots=lambda: 1, now=clock)


# 25P04: the transaction took too long, which is an outage for itself only
@pytest.mark.parametrize("sqlstate", ["P0001", "25P04"])
def test_a_lost_job_that_cannot_be_recovered_keeps_no_other_from_it(
    reconciler: Reconciler,
    database: Database,
    clock: MovableClock,
    live_settings: Settings,
    sqlstate: str,
) -> None:
    if database.engine.dialect.name == "sqlite" and sqlstate != "P0001":
        pytest.skip("SQLite has no SQLSTATEs")
    poisoned, innocent = submit(database), submit(database)
    for job_id in (poisoned, innocent):
        claim(database, job_id, lease_s=-1)
    with _poisoned(database, poisoned, sqlstate):
        _rounds_over_a_lease(reconciler, clock, live_settings)
    assert stored.job(database, poisoned).state == JobState.RUNNING
    assert stored.job(database, innocent).state == JobState.QUEUED


def test_a_released_job_that_cannot_be_cancelled_keeps_no_other_from_it(
    reconciler: Reconciler, database: Database
) -> None:
    moment = stored.job(database, running(database).job_id).created_at
    poisoned, innocent = [
        set_columns(database, submit(database), cancel_requested_at=moment) for _ in range(2)
    ]
    with _poisoned(database, poisoned):
        reconciler.reconcile()
    assert stored.job(database, innocent).state == JobState.CANCELLED


def test_a_step_that_fails_is_named_and_the_others_run(
    reconciler: Reconciler,
    database: Database,
    waker: RecordingWaker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    submit(database)
    _execute(database, "ALTER TABLE tenants RENAME TO elsewhere")
    reconciler.reconcile()
    _execute(database, "ALTER TABLE elsewhere RENAME TO tenants")
    assert waker.woken == [{"default": 1}]
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "forget_tenants" in str(vars(record))
