"""The parent process notices the end of a pool process, and takes its job from it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGABRT, SIGKILL, SIGSEGV, SIGTERM
from types import SimpleNamespace

import pytest

from shared.db.engine import Database
from shared.lifecycle import AttemptOutcome, JobState
from shared.settings import Settings
from tests.support import stored
from tests.support.fakes import MonotonicClock, RecordingWaker
from tests.support.queue_driver import AttemptId, claim, expire, submit, succeeded
from tests.support.waiting import wait_until
from workers import process_output, pulse
from workers.exits import exit_code, how_it_ended
from workers.pool_process import process_id
from workers.pool_watch import PoolWatch
from workers.pulse import Pulse


class FakeProcess:
    """A process of billiard's; a test says how it has ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = os.getpid()  # it runs, as far as the kernel knows, and is no child
        self._popen = SimpleNamespace(returncode=None)

    def end(self, code: int) -> None:
        self._popen.returncode = code


class Pool:
    """A worker's parent process: its pool, and the watch on it."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.processes = [FakeProcess("SpawnPoolWorker-1"), FakeProcess("SpawnPoolWorker-10")]
        self.waker = RecordingWaker()
        self.killed: list[int] = []
        self.clock = MonotonicClock()
        self.watch = PoolWatch(
            database,
            self.waker,
            settings,
            worker="host:1",
            processes=lambda: self.processes,
            draining=lambda _: None,
            clock=self.clock,
            kill=lambda pid, _: self.killed.append(pid),
        )
        self.watch.check()

    def run(self, database: Database, process: FakeProcess, queue: str = "default") -> AttemptId:
        """Have a process of the pool claim a job."""
        owner = f"host:1/{process_id(process.name)}/claim"
        return claim(database, submit(database, queue=queue), owner=owner, worker="host:1").attempt


@pytest.fixture
def pool(database: Database, settings: Settings) -> Pool:
    return Pool(database, settings)


def state(database: Database, attempt: AttemptId) -> str:
    return stored.job(database, attempt.job_id).state


def test_the_job_of_a_killed_process_returns_to_its_queue_and_a_worker_is_woken_up(
    pool: Pool, database: Database
) -> None:
    first, second = (pool.run(database, process) for process in pool.processes)
    pool.processes[0].end(-SIGKILL)
    pool.watch.check()
    assert state(database, first) == JobState.QUEUED
    lost = stored.attempt(database, first.job_id, 1)
    assert lost.outcome == AttemptOutcome.LOST
    assert lost.error_message == f"pool process {os.getpid()} was killed by signal 9 (out of memory?)"
    assert pool.waker.woken == [{"default": 1}]
    # that of the process whose name begins like the killed one's
    assert state(database, second) == JobState.RUNNING


def test_a_process_that_has_left_the_pool_is_noticed(pool: Pool, database: Database) -> None:
    attempt = pool.run(database, pool.processes[0])
    ended = pool.processes.pop(0)
    ended.end(-SIGKILL)
    pool.watch.check()
    assert state(database, attempt) == JobState.QUEUED


def test_a_job_whose_claim_is_committed_after_the_end_of_its_process_is_taken(
    pool: Pool, database: Database
) -> None:
    pool.processes[0].end(-SIGKILL)
    pool.watch.check()
    attempt = pool.run(database, pool.processes[0])
    pool.clock.advance(0.5)
    pool.watch.check()
    assert state(database, attempt) == JobState.QUEUED


def test_a_job_whose_report_was_committed_stays_as_it_is(pool: Pool, database: Database) -> None:
    job_id, _ = succeeded(database)
    before = database.read(stored.all_rows)
    pool.processes[0].end(-SIGKILL)
    for _ in range(10):
        pool.watch.check()
        pool.clock.advance(0.5)
    assert database.read(stored.all_rows) == before
    assert stored.job(database, job_id).state == JobState.SUCCEEDED
    assert pool.waker.woken == []


def test_an_attempt_that_went_on_elsewhere_is_left_alone(pool: Pool, database: Database) -> None:
    attempt = pool.run(database, pool.processes[0])
    pool.processes[0].end(-SIGKILL)
    pool.watch.check()
    elsewhere = claim(database, attempt.job_id, owner="host:2/other/claim", worker="host:2")
    for _ in range(10):
        pool.clock.advance(0.5)
        pool.watch.check()
    job = stored.job(database, attempt.job_id)
    assert (job.state, job.attempt, job.lost_attempts) == (JobState.RUNNING, elsewhere.attempt.number, 1)


def test_a_process_of_the_same_name_of_another_worker_is_left_alone(pool: Pool, database: Database) -> None:
    # containers may have the same host names and process ids
    owner = f"host:1/another-family-{pool.processes[0].name}/claim"
    attempt = claim(database, submit(database), owner=owner, worker="host:1").attempt
    pool.processes[0].end(-SIGKILL)
    pool.watch.check()
    assert state(database, attempt) == JobState.RUNNING


def test_each_end_is_handled_once_while_celery_keeps_the_process_in_its_pool(
    pool: Pool, database: Database
) -> None:
    attempt = pool.run(database, pool.processes[0])
    pool.processes[0].end(-SIGKILL)
    for _ in range(3):
        pool.watch.check()
    assert stored.event_types(database, attempt.job_id).count("lease_expired") == 1
    # had it been noticed again, this would be taken from it too
    pool.clock.advance(10)
    later = pool.run(database, pool.processes[0], queue="later")
    pool.watch.check()
    assert state(database, later) == JobState.RUNNING


@pytest.fixture
def unmigrated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database that refuses every write until it is migrated."""
    folder: Path = tmp_path_factory.mktemp("unmigrated")
    return f"sqlite:///{folder / 'trainshed.db'}"


def test_a_write_that_the_database_refuses_is_repeated_when_it_is_back(
    unmigrated: str, settings: Settings
) -> None:
    database = Database(unmigrated, patience_s=0)
    pool = Pool(database, settings)
    pool.processes[0].end(-SIGKILL)
    for _ in range(20):
        pool.watch.check()
        pool.clock.advance(0.5)
    database.migrate()
    attempt = pool.run(database, pool.processes[0])
    pool.watch.check()
    assert state(database, attempt) == JobState.QUEUED
    database.dispose()


def test_after_a_lease_without_the_database_the_job_is_left_to_the_reconcilers(
    unmigrated: str, settings: Settings
) -> None:
    database = Database(unmigrated, patience_s=0)
    pool = Pool(database, settings)
    pool.processes[0].end(-SIGKILL)
    pool.watch.check()
    pool.clock.advance(settings.lease_s)
    pool.watch.check()
    database.migrate()
    attempt = pool.run(database, pool.processes[0])
    pool.clock.advance(1)
    pool.watch.check()
    assert state(database, attempt) == JobState.RUNNING
    database.dispose()


def test_the_thread_watches_until_it_is_stopped_whatever_goes_wrong(
    pool: Pool, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = pool.run(database, pool.processes[0])
    broken = FakeProcess("broken")
    del broken._popen
    pool.processes.append(broken)
    pool.watch.start()
    wait_until(lambda: "pool watch failed" in caplog.text, "a check fails")
    pool.processes.remove(broken)
    broken.__init__("broken")  # type: ignore[misc]
    pool.processes[0].end(70)
    wait_until(lambda: state(database, attempt) == JobState.QUEUED, "the job is taken")
    pool.watch.stop()
    assert "pool watch" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code"), [("os._exit(3)", 3), ("os._exit(0)", 0), ("os.kill(os.getpid(), 9)", -9)]
)
def test_the_exit_code_of_a_child_is_read_without_waiting_for_it(end: str, code: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", f"import os, sys; sys.stdin.read(); {end}"], stdin=-1)
    process = SimpleNamespace(pid=child.pid, _popen=SimpleNamespace(returncode=None))
    assert exit_code(process) is None
    assert child.stdin is not None
    child.stdin.close()
    wait_until(lambda: exit_code(process) is not None, "the child has ended")
    assert exit_code(process) == code
    assert child.wait() == code


def test_a_child_that_another_thread_has_waited_for_has_no_code_until_it_is_set() -> None:
    process = FakeProcess("no child")
    assert exit_code(process) is None
    process.end(1)
    assert exit_code(process) == 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with exit code 0"),
        (70, "ended with exit code 70"),
        (-SIGKILL, "was killed by signal 9 (out of memory?)"),
        (-SIGTERM, "was killed by signal 15 (SIGTERM)"),
        (-SIGSEGV, "was killed by signal 11 (SIGSEGV)"),
        (-40, "was killed by signal 40"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: int, text: str) -> None:
    assert how_it_ended(code) == text


def test_the_log_of_a_lost_attempt_ends_with_what_its_process_printed_last(
    pool: Pool, database: Database
) -> None:
    process = pool.processes[0]
    file = process_output.path(process_id(process.name))
    file.write_bytes(b"F0000 00:00:1764300000.0 7 x.cc:1] Check failed: false\n\x00")
    attempt = pool.run(database, process)
    pool.watch.check()
    assert not file.exists()
    process.end(-SIGABRT)
    pool.watch.check()
    [line] = stored.log_lines(database, attempt.job_id)
    assert line.message == (
        f"attempt 1 lost: pool process {os.getpid()} was killed by signal 6 (SIGABRT); its last output:\n"
        "F0000 00:00:1764300000.0 7 x.cc:1] Check failed: false\n?"
    )


class SilentPool(Pool):
    """A pool whose first process has a pulse that beats only when a test says so."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(database, settings)
        self.settings = settings
        self.pulse = Pulse(pulse.path(process_id(self.processes[0].name)), lease_s=settings.lease_s)
        self.processes.pop().end(0)
        self.pass_seconds(0)
        self.killed.clear()

    @contextmanager
    def running(self, attempt: AttemptId) -> Iterator[None]:
        """Have the process run an attempt."""
        with self.pulse.holding([attempt]):
            self.pulse.begin(0)
            yield

    def pass_seconds(self, seconds: float, *, beats: bool = False) -> None:
        """Look each half second, as the thread does each tenth."""
        for _ in range(int(seconds * 2) + 1):
            if beats:
                os.utime(self.pulse._file)
            self.watch.check()
            self.clock.advance(0.5)


@pytest.fixture
def silent_pool(database: Database, settings: Settings) -> Iterator[SilentPool]:
    pool = SilentPool(database, settings)
    yield pool
    pool.pulse.close()


def test_a_process_without_a_pulse_for_a_lease_and_5_s_is_killed_with_its_group(
    silent_pool: SilentPool, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = silent_pool.run(database, silent_pool.processes[0])
    with silent_pool.running(attempt):
        silent_pool.pass_seconds(silent_pool.settings.lease_s * 2, beats=True)
        silent_pool.pass_seconds(silent_pool.settings.lease_s + 4)
        assert silent_pool.killed == []
        silent_pool.pass_seconds(2)
    pid = os.getpid()
    assert silent_pool.killed == [pid, -pid]
    assert f"pool process {pid} was ended, because it has not run for" in caplog.text
    assert str(attempt) in caplog.text
    silent_pool.processes[0].end(-SIGKILL)
    silent_pool.watch.check()
    lost = stored.attempt(database, attempt.job_id, 1)
    assert lost.outcome == AttemptOutcome.LOST
    assert (lost.error_message or "").startswith(f"pool process {pid} was ended, because it has not run for")


def test_the_log_of_an_attempt_that_was_reaped_first_says_why_its_process_was_ended(
    silent_pool: SilentPool, database: Database
) -> None:
    attempt = silent_pool.run(database, silent_pool.processes[0])
    with silent_pool.running(attempt):
        expire(database, attempt)
        silent_pool.pass_seconds(silent_pool.settings.lease_s + 6)
    silent_pool.processes[0].end(-SIGKILL)
    silent_pool.pass_seconds(5)
    lines = stored.log_lines(database, attempt.job_id)
    told = [line for line in lines if line.message.startswith("its pool process")]
    assert [(line.attempt, line.level) for line in told] == [(1, "error")]
    assert stored.job(database, attempt.job_id).lost_attempts == 1


def test_time_in_which_the_parent_was_suspended_too_counts_for_a_second(silent_pool: SilentPool) -> None:
    for _ in range(3):
        silent_pool.clock.advance(10_000)
        silent_pool.watch.check()
    assert silent_pool.killed == []


def test_a_process_that_is_not_ready_is_killed_when_the_worker_stops_and_not_before(
    pool: Pool, settings: Settings
) -> None:
    for _ in range(int(settings.lease_s) + 60):
        pool.clock.advance(1)
        pool.watch.check()
    assert pool.killed == []
    pool.watch.end_what_cannot_stop()
    pool.watch.check()
    pid = os.getpid()
    assert pool.killed == [pid, -pid] * 2


def test_a_ready_process_is_killed_5_s_after_its_last_beat_when_the_worker_stops(
    silent_pool: SilentPool,
) -> None:
    silent_pool.watch.end_what_cannot_stop()
    silent_pool.pass_seconds(60, beats=True)
    assert silent_pool.killed == []
    silent_pool.pass_seconds(6)
    assert silent_pool.killed == [os.getpid(), -os.getpid()]


def test_what_a_process_has_started_is_killed_when_it_has_ended(pool: Pool) -> None:
    pool.processes[0].end(0)
    pool.watch.check()
    assert pool.killed == [-os.getpid()]
