"""A worker's parent renews the leases of all that its pool holds, and tells what is asked of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from shared.db.engine import Database
from shared.schemas import Priority
from shared.settings import Settings
from tests.support import queue_driver, registry, stored
from tests.support.fakes import MonotonicClock
from tests.support.injected_errors import injected
from tests.support.queue_driver import AttemptId, expire, running, submit
from tests.support.statements import recorded_statements
from workers import pulse
from workers.leases import Leases
from workers.marks import Orders
from workers.pulse import Pulse, PulseReader


class Worker:
    """The pulses of two pool processes, and the leases that their parent keeps."""

    def __init__(self, database: Database, settings: Settings, folder: Path, stack: ExitStack) -> None:
        self.settings = settings.model_copy(
            update={"lease_s": 30.0, "heartbeat_s": 10.0, "cancel_poll_s": 0.5}
        )
        self.clock = MonotonicClock()
        self.database = database
        self.drains: list[bool] = []
        self.own = [Pulse(folder / f"{number}", lease_s=30.0, clock=self.clock) for number in range(2)]
        self.readers: list[PulseReader] = []
        for number, own in enumerate(self.own):
            stack.callback(own.close)
            (folder / f"{number}").rename(pulse.path(f"{id(self)}-{number}"))
            reader = PulseReader.adopt(f"{id(self)}-{number}", self.clock)
            assert reader is not None
            stack.callback(reader.close)
            self.readers.append(reader)
        patient = database.with_patience(0)
        self.leases = Leases(
            patient, self.settings, worker="host:1", draining=self.drains.append, clock=self.clock
        )

    def keep(self, seconds: float = 0.0) -> None:
        """Let time pass, and do what is due."""
        self.clock.advance(seconds)
        self.leases.keep(self.readers)

    def renewed_at(self) -> list[float]:
        return [reader.orders.renewed_at for reader in self.readers]


@pytest.fixture
def worker(database: Database, settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    with ExitStack() as stack:
        yield Worker(database, settings, tmp_path, stack)


def lease_end(database: Database, attempt: AttemptId) -> object:
    return stored.job(database, attempt.job_id).lease_expires_at


def test_the_leases_of_all_processes_are_renewed_by_one_statement_each_heartbeat(
    worker: Worker, database: Database
) -> None:
    attempts = [running(database) for _ in range(3)]
    with worker.own[0].holding(attempts[:2]), worker.own[1].holding(attempts[2:]):
        worker.keep()
        before = [lease_end(database, attempt) for attempt in attempts]
        worker.keep(9.0)
        assert [lease_end(database, attempt) for attempt in attempts] == before
        with recorded_statements(database) as statements:
            worker.keep(1.0)
        assert not {lease_end(database, attempt) for attempt in attempts} & set(before)
        assert worker.renewed_at() == [worker.clock()] * 2
    sent = [each.sql.partition(" ")[0] for each in statements if not each.is_boundary]
    assert sent == ["UPDATE", "SELECT"]


def test_a_worker_without_jobs_reads_whether_it_drains_and_writes_nothing(
    worker: Worker, database: Database
) -> None:
    registry.worker(database, id="host:1")
    worker.keep()
    registry.drain(database, "host:1")
    with recorded_statements(database) as statements:
        for _ in range(20):
            worker.keep(0.5)
    assert [each.sql.partition(" ")[0] for each in statements if not each.is_boundary] == ["SELECT"] * 20
    assert worker.drains == [False, *[True] * 20]
    assert worker.clock() - min(worker.renewed_at()) < 10.0, "its processes may claim jobs"


def test_a_process_that_is_silent_loses_its_lease_and_no_other_does(
    worker: Worker, database: Database
) -> None:
    silent, other = running(database), running(database)
    with worker.own[0].holding([silent]), worker.own[1].holding([other]):
        worker.keep()
        before = lease_end(database, silent), lease_end(database, other)
        worker.readers[0].silence_s = 6.0
        worker.keep(10.0)
        after = lease_end(database, silent), lease_end(database, other)
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_outage_is_logged_once_and_renews_nothing(
    worker: Worker, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with worker.own[0].holding([running(database)]):
        worker.keep()
        renewed_at = worker.renewed_at()
        for outage in (1, 2):
            with injected("53100", "lease_expires_at"):
                for _ in range(30):
                    worker.keep(0.5)
                assert worker.renewed_at() == renewed_at
            worker.keep(0.5)
            renewed_at = worker.renewed_at()
            assert renewed_at[0] == worker.clock()
            assert caplog.text.count("heartbeats fail") == outage


def test_processes_are_told_what_is_asked_of_their_attempts(worker: Worker, database: Database) -> None:
    registry.worker(database, slots=3, lost_after_s=1e6)
    cancelled, stale, preempted = (running(database) for _ in range(3))
    queue_driver.cancel(database, cancelled.job_id)
    expire(database, stale)
    queue_driver.claim(database, stale.job_id)
    urgent = submit(database, priority=Priority.URGENT)
    with worker.own[0].holding([cancelled, stale]), worker.own[1].holding([preempted]):
        worker.keep()
        first, second = (replace(reader.orders, renewed_at=0.0) for reader in worker.readers)
        assert first == Orders(cancelled=frozenset([cancelled]), stale=frozenset([stale]))
        assert second == Orders(preempted=frozenset([(preempted, urgent)]))
        # one that was taken does not keep the others from being renewed
        worker.keep(10.0)
        assert worker.renewed_at() == [worker.clock()] * 2
    worker.keep(0.5)
    assert not worker.readers[0].orders.stale


def test_a_job_that_ends_between_the_look_at_the_mark_and_the_read_disturbs_no_other(
    worker: Worker, database: Database
) -> None:
    ended, following = running(database), running(database)
    with worker.own[0].holding([ended]):
        queue_driver.release(database, ended)
        worker.keep()
    assert worker.readers[0].orders.stale == {ended}
    with worker.own[0].holding([following]):
        worker.own[0].begin(0)
        worker.own[0].check()


def test_a_request_is_seen_within_a_poll(worker: Worker, database: Database) -> None:
    attempt = running(database)
    with worker.own[0].holding([attempt]):
        worker.keep()
        queue_driver.cancel(database, attempt.job_id)
        for _ in range(6):
            worker.keep(0.1)
        assert worker.readers[0].orders.cancelled == {attempt}
