"""What kills, lost messages and outages left is put right, and nothing else is touched."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, select, update

from shared.broker import Broker
from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.tables import Job
from shared.lifecycle import JobState
from shared.settings import Settings
from shared.store import attempts, job_queries
from shared.store.submit import submit_job
from tests.support.factories import make_new_job, make_worker_info
from tests.support.servers import RedisServer
from workers.reconciler import Reconciler


class MovableClock:
    """The database's clock, and so many seconds more."""

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


def put(database: Database, job_id: UUID, **values: Any) -> None:
    database.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(**values)))


def state(database: Database, job_id: UUID) -> JobState:
    return database.read(lambda session: job_queries.get(session, job_id)).state


def claim(database: Database, job_id: UUID, lease_s: float) -> None:
    database.write(
        lambda session: attempts.claim(
            session, job_id, worker=make_worker_info(), owner="me", lease_s=lease_s
        )
    )


def test_job_that_was_never_sent_is_sent(
    reconciler: Reconciler, database: Database, own_broker: Broker
) -> None:
    put(database, submit(database), dispatched_at=None)
    reconciler.round()
    assert own_broker.waiting(["default"]) == 1
    reconciler.round()
    assert own_broker.waiting(["default"]) == 1


def test_message_that_was_lost_is_sent_again_once(
    reconciler: Reconciler, database: Database, own_broker: Broker
) -> None:
    put(database, submit(database), dispatched_at=database_now(-60))
    reconciler.round()
    assert own_broker.waiting(["default"]) == 1
    reconciler.round()
    assert own_broker.waiting(["default"]) == 1


def test_message_that_waits_behind_others_is_not_doubled(
    reconciler: Reconciler, database: Database, own_broker: Broker
) -> None:
    put(database, submit(database), dispatched_at=None)
    reconciler.round()
    for job_id in database.read(lambda session: session.scalars(select(Job.id)).all()):
        put(database, job_id, dispatched_at=database_now(-3_600))
    reconciler.round()
    assert own_broker.waiting(["default"]) == 1


def test_jobs_of_queues_that_this_worker_does_not_serve_are_left_to_others(
    reconciler: Reconciler, database: Database, own_broker: Broker
) -> None:
    put(database, submit(database, queue="elsewhere"), dispatched_at=None)
    reconciler.round()
    assert own_broker.waiting(["default", "elsewhere"]) == 0


def test_expired_lease_is_reaped_once_it_was_watched_for_a_lease(
    reconciler: Reconciler, database: Database, live_settings: Settings, clock: MovableClock
) -> None:
    job_id = submit(database)
    claim(database, job_id, lease_s=-1)
    for share in (0.0, 0.5, 0.95):
        clock.ahead_s = live_settings.lease_s * share
        reconciler.round()
    assert state(database, job_id) == JobState.RUNNING
    clock.ahead_s = live_settings.lease_s
    reconciler.round()
    assert state(database, job_id) == JobState.QUEUED


@pytest.mark.parametrize("leap_s", [3_600.0, -3_600.0])
def test_leap_of_the_clock_starts_the_wait_anew(
    reconciler: Reconciler, database: Database, live_settings: Settings, clock: MovableClock, leap_s: float
) -> None:
    for share in (0.0, 0.5, 1.0):
        clock.ahead_s = live_settings.lease_s * share
        reconciler.round()
    clock.ahead_s += leap_s
    job_id = submit(database)
    claim(database, job_id, lease_s=clock.ahead_s - 1)
    reconciler.round()
    assert state(database, job_id) == JobState.RUNNING


def test_job_whose_cancel_met_a_stopping_worker_ends(reconciler: Reconciler, database: Database) -> None:
    job_id = submit(database)
    put(database, job_id, cancel_requested_at=database_now())
    reconciler.round()
    assert state(database, job_id) == JobState.CANCELLED


def test_outage_of_redis_leaves_the_jobs_to_a_later_round(
    reconciler: Reconciler, database: Database, own_broker: Broker, redis: RedisServer
) -> None:
    job_id = submit(database)
    put(database, job_id, dispatched_at=None)
    redis.stop()
    reconciler.round()
    redis.start()
    reconciler.round()
    assert own_broker.waiting(["default"]) == 1


def test_outage_of_the_database_starts_the_wait_anew(
    tmp_path_factory: pytest.TempPathFactory,
    own_broker: Broker,
    live_settings: Settings,
    clock: MovableClock,
) -> None:
    path = tmp_path_factory.mktemp("away") / "trainshed.db"
    database = Database(f"sqlite:///{path}", patience_s=0)
    reconciler = Reconciler(database, own_broker, live_settings, now=clock)
    reconciler.round()  # there is no table: as good as no database
    clock.ahead_s = live_settings.lease_s * 2
    database.migrate()
    job_id = submit(database)
    claim(database, job_id, lease_s=-1)
    reconciler.round()
    assert state(database, job_id) == JobState.RUNNING
    database.dispose()
