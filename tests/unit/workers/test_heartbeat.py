"""The heartbeat renews the lease, and interrupts the attempt for each reason for which it must end."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from shared.db.engine import Database
from shared.errors import (
    AttemptInterrupted,
    CancelRequested,
    LeaseLost,
    MaxRuntimeExceeded,
    StaleAttempt,
    StopRequested,
)
from shared.lifecycle import AttemptOutcome, JobState, Phase
from tests.support import queue_driver, stored
from tests.support.injected_errors import injected
from tests.support.queue_driver import AttemptFailure, AttemptId, submit
from tests.support.waiting import wait_until
from tests.unit.workers.conftest import MakeProcess
from workers.heartbeat import Heartbeat
from workers.pending import PendingProgress
from workers.pool_process import PoolProcess


def claim(process: PoolProcess, *, lease_s: float = 30.0) -> AttemptId:
    return queue_driver.claim(process.database, submit(process.database), lease_s=lease_s).attempt


class Ended:
    """How an attempt has ended, as its heartbeat tells."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[AttemptOutcome, AttemptFailure | None]] = []

    def __call__(self, outcome: AttemptOutcome, failure: AttemptFailure | None) -> None:
        self.outcomes.append((outcome, failure))


def heartbeat_of(process: PoolProcess, attempt: AttemptId, **options: Any) -> Heartbeat:
    return Heartbeat(process, attempt, PendingProgress(attempt, lease_s=30.0), **options)


def interruption(heartbeat: Heartbeat) -> Exception | None:
    try:
        heartbeat.check()
    except (AttemptInterrupted, MaxRuntimeExceeded) as error:
        return error
    return None


def lease_end(process: PoolProcess, job_id: UUID) -> object:
    return stored.job(process.database, job_id).lease_expires_at


def wait_for_renewal(process: PoolProcess, job_id: UUID) -> None:
    before = lease_end(process, job_id)
    wait_until(lambda: lease_end(process, job_id) != before, "the lease ends later")


def test_lease_is_renewed_while_the_job_runs(make_process: MakeProcess) -> None:
    process = make_process(lease_s=30.0, heartbeat_s=0.05)
    attempt = claim(process, lease_s=1.0)
    with heartbeat_of(process, attempt) as heartbeat:
        wait_for_renewal(process, attempt.job_id)
        heartbeat.check()


def test_cancel_request_interrupts_the_attempt(make_process: MakeProcess) -> None:
    process = make_process()
    attempt = claim(process)
    with heartbeat_of(process, attempt) as heartbeat:
        queue_driver.cancel(process.database, attempt.job_id)
        error = wait_until(lambda: interruption(heartbeat), "the cancel request arrives")
    assert isinstance(error, CancelRequested)


def test_cancel_does_not_wait_for_a_slow_step(make_process: MakeProcess) -> None:
    process = make_process()
    attempt = claim(process)

    def state() -> JobState:
        return stored.state(process.database, attempt.job_id)

    pending, ended = PendingProgress(attempt, lease_s=30.0), Ended()
    with Heartbeat(process, attempt, pending, ended=ended) as heartbeat:
        queue_driver.cancel(process.database, attempt.job_id)
        wait_until(lambda: interruption(heartbeat), "the cancel request arrives")
        pending.add_phase(Phase.TRAINING)
        wait_until(
            lambda: state() == JobState.CANCELLED, "the job is cancelled although no step has finished"
        )
    assert isinstance(interruption(heartbeat), CancelRequested)
    assert ended.outcomes == [(AttemptOutcome.CANCELLED, None)]
    queue_driver.report_cancelled(process.database, attempt)
    assert state() == JobState.CANCELLED


def test_worker_stop_interrupts_the_attempt(make_process: MakeProcess) -> None:
    process = make_process()
    with heartbeat_of(process, claim(process)) as heartbeat:
        process.stop.set()
        with pytest.raises(StopRequested):
            heartbeat.check()


def test_attempt_whose_job_was_reaped_is_stale(make_process: MakeProcess) -> None:
    process = make_process()
    attempt = claim(process, lease_s=-1)
    queue_driver.expire(process.database, attempt)
    with heartbeat_of(process, attempt) as heartbeat:
        error = wait_until(lambda: interruption(heartbeat), "the attempt is stale")
    assert isinstance(error, StaleAttempt)


def test_attempt_ends_itself_when_its_lease_cannot_be_renewed(
    make_process: MakeProcess, tmp_path: Path
) -> None:
    process = make_process(lease_s=0.3, heartbeat_s=0.1)
    unavailable = Database(
        f"sqlite:///{tmp_path / 'empty.db'}", patience_s=0
    )  # has no tables: every read fails
    with heartbeat_of(replace(process, heartbeat_database=unavailable), claim(process)) as heartbeat:
        error = wait_until(lambda: interruption(heartbeat), "two thirds of the lease have passed")
    assert isinstance(error, LeaseLost)
    unavailable.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_outage_is_logged_once(make_process: MakeProcess, caplog: pytest.LogCaptureFixture) -> None:
    process = make_process(heartbeat_s=0.05)
    attempt = claim(process)
    with heartbeat_of(process, attempt):
        for outage in (1, 2):
            with injected("53100", "cancel_requested_at") as refused:
                wait_until(lambda: refused.count > 3, "the heartbeat has tried several times")
            wait_for_renewal(process, attempt.job_id)
            assert caplog.text.count("heartbeats fail") == outage


def test_attempt_continues_if_it_can_renew_an_expired_lease_itself(make_process: MakeProcess) -> None:
    process = make_process(lease_s=0.3, heartbeat_s=10.0)
    attempt = claim(process, lease_s=-1)
    before = lease_end(process, attempt.job_id)
    with heartbeat_of(process, attempt) as heartbeat:
        wait_until(
            lambda: interruption(heartbeat) or lease_end(process, attempt.job_id) != before,
            "the thread that runs the job renews the lease",
        )
        heartbeat.check()


def test_attempt_that_exceeds_its_time_limit_is_interrupted(make_process: MakeProcess) -> None:
    process = make_process()
    with heartbeat_of(process, claim(process), max_runtime_s=0.05) as heartbeat:
        error = wait_until(lambda: interruption(heartbeat), "the time limit has passed")
    assert isinstance(error, MaxRuntimeExceeded)
    assert "max_runtime_s" in str(error)


def test_process_whose_step_hangs_reports_the_failure_and_exits(make_process: MakeProcess) -> None:
    process = make_process(no_progress_s=0.1)
    attempt = claim(process)
    statuses: list[int] = []
    exited = Event()

    def exit_process(status: int) -> None:
        statuses.append(status)
        exited.set()

    ended = Ended()
    with heartbeat_of(process, attempt, ended=ended, exit_process=exit_process):
        assert exited.wait(10)
    assert [(outcome, failure.code) for outcome, failure in ended.outcomes[:1] if failure] == [
        (AttemptOutcome.FAILED, "timeout")
    ]
    job = stored.detail(process.database, attempt.job_id)
    assert statuses[0] == os.EX_SOFTWARE
    assert job.state == JobState.FAILED
    assert job.error is not None
    assert job.error.code == "timeout"


def end_of_hung_step(
    process: PoolProcess, attempt: AttemptId, interrupt: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> JobState:
    """Interrupt an attempt whose step does not return; return its job's state when the process would end."""
    monkeypatch.setattr("workers.heartbeat._INTERRUPTION_GRACE_S", 0.05)
    exited, ended = Event(), Ended()
    with heartbeat_of(process, attempt, ended=ended, exit_process=lambda _: exited.set()):
        interrupt()
        assert exited.wait(10)
    state = stored.state(process.database, attempt.job_id)
    if state != JobState.RUNNING:  # else it was taken from this process
        outcome = AttemptOutcome.RELEASED if state == JobState.QUEUED else AttemptOutcome.CANCELLED
        assert ended.outcomes[0] == (outcome, None)
    return state


def test_process_whose_step_outlasts_a_worker_stop_releases_its_job_and_exits(
    make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make_process()
    assert end_of_hung_step(process, claim(process), process.stop.set, monkeypatch) == JobState.QUEUED


def test_process_whose_step_outlasts_a_cancel_exits(
    make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make_process()
    attempt = claim(process)

    def cancel() -> None:
        queue_driver.cancel(process.database, attempt.job_id)

    assert end_of_hung_step(process, attempt, cancel, monkeypatch) == JobState.CANCELLED


def test_process_whose_step_outlasts_its_lease_exits_and_leaves_the_job_to_others(
    make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make_process()
    attempt = claim(process, lease_s=-1)

    def take_over() -> None:
        queue_driver.expire(process.database, attempt)
        queue_driver.claim(process.database, attempt.job_id)

    assert end_of_hung_step(process, attempt, take_over, monkeypatch) == JobState.RUNNING


def test_process_that_cannot_report_its_hung_step_waits_for_the_database(
    make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("workers.heartbeat._INTERRUPTION_GRACE_S", 0.05)
    process, exited = make_process(), Event()
    unavailable = Database(f"sqlite:///{tmp_path / 'empty.db'}", patience_s=0)
    without_database = replace(process, heartbeat_database=unavailable)
    with heartbeat_of(without_database, claim(process), exit_process=lambda _: exited.set()):
        process.stop.set()
        assert not exited.wait(0.5)
    unavailable.dispose()


def test_long_report_of_a_worker_that_stops_is_not_treated_as_a_hung_step(
    make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.heartbeat._INTERRUPTION_GRACE_S", 0.05)
    process, exited = make_process(heartbeat_s=0.05), Event()
    with heartbeat_of(process, claim(process), exit_process=lambda _: exited.set()) as heartbeat:
        heartbeat.begin_report()
        process.stop.set()
        assert not exited.wait(0.5)


def test_long_report_is_not_treated_as_a_hung_step(make_process: MakeProcess) -> None:
    process = make_process(no_progress_s=0.1, heartbeat_s=0.05)
    exited = Event()
    attempt = claim(process, lease_s=-1)
    with heartbeat_of(process, attempt, exit_process=lambda _: exited.set()) as heartbeat:
        heartbeat.begin_report()
        assert not exited.wait(0.5)
        wait_for_renewal(process, attempt.job_id)


def test_process_whose_steps_finish_in_time_does_not_exit(make_process: MakeProcess) -> None:
    process = make_process(no_progress_s=0.2)
    exited = Event()
    attempt = claim(process)
    with heartbeat_of(process, attempt, exit_process=lambda _: exited.set()) as heartbeat:
        pause = Event()
        for _ in range(20):
            heartbeat.check()
            pause.wait(0.02)
    assert not exited.is_set()
