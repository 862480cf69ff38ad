"""The reconciler repairs what killed workers, lost messages and outages leave, and changes nothing else."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.lifecycle import JobState, WorkerState
from shared.settings import Settings
from tests.support import queue_driver, stored
from tests.support.fakes import MovableClock, RecordingWaker
from tests.support.queue_driver import cancelled, claim_next, submit
from tests.support.registry import worker
from workers.reconciler import Reconciler


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


class Slots:
    """The slots of a worker; a test sets how many are free."""

    def __init__(self) -> None:
        self.free = 1

    def __call__(self) -> int:
        return self.free


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
def waker() -> RecordingWaker:
    return RecordingWaker()


@pytest.fixture
def reconciler(
    database: Database, waker: RecordingWaker, live_settings: Settings, slots: Slots, clock: MovableClock
) -> Reconciler:
    return Reconciler(database, waker, live_settings, free_slots=slots, now=clock)


def claim(database: Database, job_id: UUID, lease_s: float) -> None:
    queue_driver.claim(database, job_id, lease_s=lease_s)


def test_free_slots_are_woken_up_for_jobs_that_wait(
    reconciler: Reconciler, database: Database, waker: RecordingWaker, slots: Slots
) -> None:
    reconciler.reconcile()
    assert waker.woken == []
    for _ in range(3):
        submit(database)
    for free in (0, 1, 2, 5):
        slots.free = free
        reconciler.reconcile()
    assert waker.woken == [{"default": 1}, {"default": 2}, {"default": 3}]


def test_jobs_behind_cancelled_ones_wake_a_slot_up(
    reconciler: Reconciler, database: Database, waker: RecordingWaker
) -> None:
    for _ in range(20):
        cancelled(database)
    submit(database)
    reconciler.reconcile()
    assert waker.woken == [{"default": 1}]


def test_a_slot_is_woken_up_for_a_reaped_job_although_none_is_free_here(
    reconciler: Reconciler,
    database: Database,
    waker: RecordingWaker,
    slots: Slots,
    live_settings: Settings,
    clock: MovableClock,
) -> None:
    slots.free = 0
    claim(database, submit(database), lease_s=-1)
    for share in (0.0, 0.5, 1.0):
        clock.ahead_s = live_settings.lease_s * share
        reconciler.reconcile()
    assert waker.woken == [{"default": 1}]


def test_a_slot_is_woken_up_when_a_job_becomes_due(
    reconciler: Reconciler, database: Database, waker: RecordingWaker, clock: MovableClock
) -> None:
    stored.set_columns(database, submit(database), scheduled_at=database_now(30), failures=1)
    reconciler.reconcile()
    assert waker.woken == []
    clock.ahead_s = 31
    reconciler.reconcile()
    assert waker.woken == [{"default": 1}]


def test_round_prunes_workers_that_ended_before_the_retention(
    reconciler: Reconciler, database: Database, live_settings: Settings
) -> None:
    retention_s = live_settings.worker_retention_s
    for name, age_s in (("old", retention_s + 60), ("recent", retention_s - 60)):
        ended_at = datetime.now(UTC) - timedelta(seconds=age_s)
        worker(database, id=name, state=WorkerState.STOPPED, heartbeat_at=ended_at)
    reconciler.reconcile()
    assert [row.id for row in stored.worker_rows(database)] == ["recent"]


def test_no_slot_is_woken_up_for_queues_that_the_worker_does_not_serve(
    reconciler: Reconciler, database: Database, waker: RecordingWaker
) -> None:
    submit(database, queue="elsewhere")
    reconciler.reconcile()
    assert waker.woken == []


def test_expired_lease_is_reaped_after_rounds_over_a_full_lease(
    reconciler: Reconciler, database: Database, live_settings: Settings, clock: MovableClock
) -> None:
    job_id = submit(database)
    claim(database, job_id, lease_s=-1)
    for share in (0.0, 0.5, 0.95):
        clock.ahead_s = live_settings.lease_s * share
        reconciler.reconcile()
    assert stored.state(database, job_id) == JobState.RUNNING
    clock.ahead_s = live_settings.lease_s
    reconciler.reconcile()
    assert stored.state(database, job_id) == JobState.QUEUED


@pytest.mark.parametrize("step_s", [3_600.0, -3_600.0])
def test_step_of_the_clock_restarts_the_wait_before_reaping(
    reconciler: Reconciler, database: Database, live_settings: Settings, clock: MovableClock, step_s: float
) -> None:
    for share in (0.0, 0.5, 1.0):
        clock.ahead_s = live_settings.lease_s * share
        reconciler.reconcile()
    clock.ahead_s += step_s
    job_id = submit(database)
    claim(database, job_id, lease_s=clock.ahead_s - 1)
    reconciler.reconcile()
    assert stored.state(database, job_id) == JobState.RUNNING


def test_queued_job_with_a_cancel_request_is_cancelled(reconciler: Reconciler, database: Database) -> None:
    job_id = submit(database)
    stored.set_columns(database, job_id, cancel_requested_at=database_now())
    reconciler.reconcile()
    assert stored.state(database, job_id) == JobState.CANCELLED


def test_slots_are_woken_up_after_an_outage_of_redis(
    reconciler: Reconciler, database: Database, waker: RecordingWaker
) -> None:
    submit(database)
    waker.available = False
    reconciler.reconcile()
    waker.available = True
    reconciler.reconcile()
    assert waker.woken == [{"default": 1}]


def test_outage_of_the_database_restarts_the_wait_before_reaping(
    tmp_path_factory: pytest.TempPathFactory,
    waker: RecordingWaker,
    slots: Slots,
    live_settings: Settings,
    clock: MovableClock,
) -> None:
    path = tmp_path_factory.mktemp("outage") / "trainshed.db"
    path.mkdir()  # which SQLite cannot open
    database = Database(f"sqlite:///{path}", patience_s=0)
    reconciler = Reconciler(database, waker, live_settings, free_slots=slots, now=clock)
    with pytest.raises(DBAPIError):
        reconciler.reconcile()
    path.rmdir()
    clock.ahead_s = live_settings.lease_s * 2
    database.migrate()
    job_id = submit(database)
    claim(database, job_id, lease_s=-1)
    reconciler.reconcile()
    assert stored.state(database, job_id) == JobState.RUNNING
    database.dispose()


def test_jobs_start_and_leases_end_in_time_after_the_clock_has_stepped_back(
    reconciler: Reconciler,
    database: Database,
    waker: RecordingWaker,
    live_settings: Settings,
    clock: MovableClock,
) -> None:
    clock.ahead_s = 3_600
    reconciler.reconcile()
    lost = submit(database)
    claim(database, lost, lease_s=3_600 + live_settings.lease_s)
    queued = submit(database)
    for job_id in (lost, queued):
        stored.set_columns(database, job_id, scheduled_at=clock())
    clock.ahead_s = 0
    reconciler.reconcile()
    assert waker.woken == [{"default": 1}]
    assert claim_next(database, now=clock) is not None
    for share in (0.5, 1.0, 1.5):
        clock.ahead_s = live_settings.lease_s * share
        reconciler.reconcile()
    assert stored.state(database, lost) == JobState.QUEUED


def test_jobs_start_in_time_if_the_clock_stepped_back_while_no_worker_ran(
    reconciler: Reconciler, database: Database, clock: MovableClock
) -> None:
    stored.set_columns(database, submit(database), scheduled_at=clock(3_600))
    reconciler.reconcile()
    assert claim_next(database, now=clock) is not None


def test_more_jobs_than_a_round_corrects_are_corrected_by_the_next_ones(
    reconciler: Reconciler, database: Database, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.reconciler._MAX_PULLED_BACK", 2)
    for _ in range(5):
        stored.set_columns(database, submit(database), scheduled_at=clock(3_600))
    started = 0
    for _ in range(3):
        reconciler.reconcile()
        while claim_next(database, now=clock) is not None:
            started += 1
    assert started == 5


def test_a_clock_that_goes_on_changes_no_times(
    reconciler: Reconciler, database: Database, clock: MovableClock
) -> None:
    reconciler.reconcile()
    job_id = submit(database)
    stored.set_columns(database, job_id, scheduled_at=clock(100))
    before = stored.job(database, job_id).scheduled_at
    for clock.ahead_s in (0.5, 1.0):
        reconciler.reconcile()
    assert stored.job(database, job_id).scheduled_at == before
