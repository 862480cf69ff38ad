"""A worker's row says who it is and that it lives."""

from functools import partial

from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Worker
from shared.settings import Settings
from shared.store import workers
from tests.support.fakes import FrozenClock
from workers.registration import Registration


def only_worker(database: Database) -> Worker:
    [worker] = database.read(lambda session: session.scalars(select(Worker)).all())
    return worker


def test_worker_joins_beats_and_leaves(database: Database, settings: Settings) -> None:
    clock = FrozenClock()
    registration = Registration(database, settings, name="host:1", pid=1, devices=["0"], slots=2)
    registration.register(now=clock)
    joined = only_worker(database)
    assert (joined.id, joined.pid, joined.slots, joined.state) == ("host:1", 1, 2, "online")
    assert joined.queues == ["default"]
    assert joined.versions["trainshed"]
    clock.advance(5)
    registration.beat(now=clock)
    assert only_worker(database).heartbeat_at == clock.moment
    registration.leave(now=clock)
    assert only_worker(database).state == "stopped"


def test_worker_that_comes_back_takes_its_row_again(database: Database, settings: Settings) -> None:
    for slots in (1, 3):
        registration = Registration(database, settings, name="host:1", pid=1, devices=[], slots=slots)
        registration.register()
    assert only_worker(database).slots == 3


def test_worker_learns_that_it_drains_until_it_starts_anew(database: Database, settings: Settings) -> None:
    registration = Registration(database, settings, name="host:1", pid=1, devices=[], slots=1)
    assert not registration.is_draining()
    registration.register()
    database.write(partial(workers.drain, worker="host:1"))
    registration.beat()
    assert registration.is_draining()
    registration.register()
    assert not registration.is_draining()


def test_worker_says_when_it_is_to_be_taken_for_lost(database: Database, settings: Settings) -> None:
    quick = settings.model_copy(update={"reconcile_s": 2.0, "lease_s": 30.0})
    Registration(database, quick, name="host:1", pid=1, devices=[], slots=1).register()
    assert only_worker(database).lost_after_s == 36.0
