"""A worker keeps its own row in the `workers` table up to date."""

from pathlib import Path
from typing import Any

from shared.db.engine import Database
from shared.settings import Settings
from tests.support import registry, stored
from tests.support.fakes import FrozenClock
from workers.registration import Registration


def only_worker(database: Database) -> Any:
    [worker] = stored.worker_rows(database)
    return worker


def test_a_worker_registers_sends_heartbeats_and_is_marked_as_stopped(
    database: Database, settings: Settings
) -> None:
    clock = FrozenClock()
    memory = iter((1_000, 3_000_000_000))
    registration = Registration(
        database, settings, name="host:1", pid=1, devices=["0"], slots=2, memory=lambda: next(memory)
    )
    registration.register(now=clock)
    registered = only_worker(database)
    assert (registered.id, registered.pid, registered.slots, registered.state) == ("host:1", 1, 2, "online")
    assert registered.queues == ["default"]
    assert registered.versions["trainshed"]
    assert registered.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert registered.memory_bytes == 1_000
    clock.advance(5)
    registration.heartbeat(now=clock)
    assert only_worker(database).heartbeat_at == clock.moment
    assert only_worker(database).memory_bytes == 3_000_000_000  # more than 32 bits
    registration.mark_stopped(now=clock)
    assert only_worker(database).state == "stopped"
    assert only_worker(database).memory_bytes is None


def test_a_restarted_worker_of_the_same_name_replaces_its_row(database: Database, settings: Settings) -> None:
    for slots in (1, 3):
        registration = Registration(database, settings, name="host:1", pid=1, devices=[], slots=slots)
        registration.register()
    assert only_worker(database).slots == 3


def test_a_worker_is_draining_from_the_request_until_it_registers_again(
    database: Database, settings: Settings
) -> None:
    registration = Registration(database, settings, name="host:1", pid=1, devices=[], slots=1)
    registration.register()
    registry.drain(database, "host:1")
    registration.heartbeat()
    assert only_worker(database).state == "draining"
    registration.register()
    assert only_worker(database).state == "online"


def test_a_worker_is_lost_after_three_missed_heartbeats_and_a_lease(
    database: Database, settings: Settings
) -> None:
    settings = settings.model_copy(update={"reconcile_s": 2.0, "lease_s": 30.0})
    Registration(database, settings, name="host:1", pid=1, devices=[], slots=1).register()
    assert only_worker(database).lost_after_s == 36.0
