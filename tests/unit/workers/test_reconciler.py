"""The reconciler repairs what killed workers, lost messages and outages leave, and changes nothing else."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, select, update

from shared.broker import Broker
from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.tables import Job, Worker
from shared.lifecycle import JobState, WorkerState
from shared.settings import Settings
from shared.store import attempts, job_queries
from shared.store.submit import submit_job
from tests.support.factories import make_new_job, make_worker_info, worker
from tests.support.servers import RedisServer
from workers.reconciler import Reconciler


class MovableClock:
    """The database's clock, shifted by `ahead_s` seconds."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self, offset_s: float = 0.0, /) -> ColumnElement[datetime]:
        return database_now(self.ahead_s + offset_s)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def own_broker(live_settings: Settings) -> Iterator[Broker]:
    broker = Broker(live_settings)
    yield broker
    broker.close()


@pytest.fixture
def reconciler(
    database: Database, own_broker: Broker, live_settings: Settings, clock: MovableClock
) -> Reconciler:
    return Reconciler(database, own_broker, live_settings, now=clock)


def submit(database: Database, **overrides: Any) -> UUID:
    return database.write(lambda session: submit_job(session, make_new_job(**overrides)))[0]


def update_job(database: Database, job_id: UUID, **values: Any) -> None:
    database.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(**values)))


def state(database: Database, job_id: UUID) -> JobState:
    return database.read(lambda session: job_queries.get(session, job_id)).state


def claim(database: Database, job_id: UUID, lease_s: float) -> None:
    database.write(
        lambda session: attempts.claim(
            session, job_id, worker=make_worker_info(), owner="me", lease_s=lease_s
        )
    )


def test_job_whose_message_was_never_sent_is_dispatched_once(
    reconciler: Reconciler, database: Database, own_broker: Broker
) -> None:
    update_job(database, submit(database), dispatched_at=None)
    reconciler.reconcile()
    assert own_broker.count_hints(["default"]) == 1
    reconciler.reconcile()
    assert own_broker.count_hints(["default"]) == 1


def test_job_whose_message_was_lost_is_dispatched_again_once(
    reconciler: Reconciler, database: Database, own_broker: Broker
) -> None:
    update_job(database, submit(database), dispatched_at=database_now(-60))
    reconciler.reconcile()
    assert own_broker.count_hints(["default"]) == 1
    reconciler.reconcile()
    assert own_broker.count_hints(["default"]) == 1


def test_message_that_is_still_at_the_broker_is_not_sent_again(
    reconciler: Reconciler, database: Database, own_broker: Broker
) -> None:
    update_job(database, submit(database), dispatched_at=None)
    reconciler.reconcile()
    for job_id in database.read(lambda session: session.scalars(select(Job.id)).all()):
        update_job(database, job_id, dispatched_at=database_now(-3_600))
    reconciler.reconcile()
    assert own_broker.count_hints(["default"]) == 1


def test_round_prunes_workers_that_ended_before_the_retention(
    reconciler: Reconciler, database: Database, live_settings: Settings
) -> None:
    retention_s = live_settings.worker_retention_s
    for name, age_s in (("old", retention_s + 60), ("recent", retention_s - 60)):
        ended_at = datetime.now(UTC) - timedelta(seconds=age_s)
        worker(database, id=name, state=WorkerState.STOPPED, heartbeat_at=ended_at)
    reconciler.reconcile()
    assert database.read(lambda session: session.scalars(select(Worker.id)).all()) == ["recent"]


def test_jobs_of_queues_that_the_worker_does_not_serve_are_not_dispatched(
    reconciler: Reconciler, database: Database, own_broker: Broker
) -> None:
    update_job(database, submit(database, queue="elsewhere"), dispatched_at=None)
    reconciler.reconcile()
    assert own_broker.count_hints(["default", "elsewhere"]) == 0


def test_expired_lease_is_reaped_after_rounds_over_a_full_lease(
    reconciler: Reconciler, database: Database, live_settings: Settings, clock: MovableClock
) -> None:
    job_id = submit(database)
    claim(database, job_id, lease_s=-1)
    for share in (0.0, 0.5, 0.95):
        clock.ahead_s = live_settings.lease_s * share
        reconciler.reconcile()
    assert state(database, job_id) == JobState.RUNNING
    clock.ahead_s = live_settings.lease_s
    reconciler.reconcile()
    assert state(database, job_id) == JobState.QUEUED


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
    assert state(database, job_id) == JobState.RUNNING


def test_queued_job_with_a_cancel_request_is_cancelled(reconciler: Reconciler, database: Database) -> None:
    job_id = submit(database)
    update_job(database, job_id, cancel_requested_at=database_now())
    reconciler.reconcile()
    assert state(database, job_id) == JobState.CANCELLED


def test_jobs_are_dispatched_after_an_outage_of_redis(
    reconciler: Reconciler, database: Database, own_broker: Broker, redis: RedisServer
) -> None:
    job_id = submit(database)
    update_job(database, job_id, dispatched_at=None)
    redis.stop()
    reconciler.reconcile()
    redis.start()
    reconciler.reconcile()
    assert own_broker.count_hints(["default"]) == 1


def test_outage_of_the_database_restarts_the_wait_before_reaping(
    tmp_path_factory: pytest.TempPathFactory,
    own_broker: Broker,
    live_settings: Settings,
    clock: MovableClock,
) -> None:
    path = tmp_path_factory.mktemp("outage") / "trainshed.db"
    database = Database(f"sqlite:///{path}", patience_s=0)
    reconciler = Reconciler(database, own_broker, live_settings, now=clock)
    reconciler.reconcile()  # fails: there are no tables
    clock.ahead_s = live_settings.lease_s * 2
    database.migrate()
    job_id = submit(database)
    claim(database, job_id, lease_s=-1)
    reconciler.reconcile()
    assert state(database, job_id) == JobState.RUNNING
    database.dispose()
