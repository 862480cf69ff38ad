"""The lease is kept while a job runs, and every reason to end the attempt reaches the thread that runs it."""

import os
from dataclasses import replace
from pathlib import Path
from threading import Event
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Job
from shared.errors import (
    AttemptInterrupted,
    CancelRequested,
    LeaseLost,
    MaxRuntimeExceeded,
    StaleAttempt,
    StopRequested,
)
from shared.lifecycle import JobState
from shared.store import attempts, job_edits, job_queries, recovery
from shared.store.submit import submit_job
from shared.store.transitions import AttemptId
from tests.support.factories import make_new_job
from tests.support.waiting import wait_until
from tests.unit.workers.conftest import MakeProcess
from workers.heartbeat import Heartbeat
from workers.pool_process import PoolProcess


def claim(process: PoolProcess, *, lease_s: float = 30.0) -> AttemptId:
    job_id, _ = process.database.write(lambda session: submit_job(session, make_new_job()))
    claimed = process.database.write(
        lambda session: attempts.claim(session, job_id, worker=process.info, owner="me", lease_s=lease_s)
    )
    assert claimed is not None
    return claimed.attempt


def interruption(heartbeat: Heartbeat) -> Exception | None:
    try:
        heartbeat.check()
    except (AttemptInterrupted, MaxRuntimeExceeded) as error:
        return error
    return None


def lease_end(process: PoolProcess, job_id: UUID) -> object:
    return process.database.read(
        lambda session: session.scalar(select(Job.lease_expires_at).where(Job.id == job_id))
    )


def test_lease_is_renewed_while_the_job_runs(make_process: MakeProcess) -> None:
    process = make_process(lease_s=30.0, heartbeat_s=0.05)
    attempt = claim(process, lease_s=1.0)
    before = lease_end(process, attempt.job_id)
    with Heartbeat(process, attempt) as heartbeat:
        wait_until(lambda: lease_end(process, attempt.job_id) != before, "the lease ends later")
        heartbeat.check()


def test_cancel_request_interrupts_the_attempt(make_process: MakeProcess) -> None:
    process = make_process()
    attempt = claim(process)
    with Heartbeat(process, attempt) as heartbeat:
        process.database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
        error = wait_until(lambda: interruption(heartbeat), "the cancel request arrives")
    assert isinstance(error, CancelRequested)


def test_cancel_does_not_wait_for_a_step_that_is_slow(make_process: MakeProcess) -> None:
    process = make_process()
    attempt = claim(process)

    def state() -> JobState:
        return process.database.read(lambda session: job_queries.get(session, attempt.job_id)).state

    with Heartbeat(process, attempt) as heartbeat:
        process.database.write(lambda session: job_edits.request_cancel(session, attempt.job_id))
        wait_until(lambda: state() == JobState.CANCELLED, "the job is cancelled, with no step finished")
        assert isinstance(interruption(heartbeat), CancelRequested)
    process.database.write(lambda session: attempts.cancel_attempt(session, attempt))
    assert state() == JobState.CANCELLED


def test_stop_of_the_worker_interrupts_the_attempt(make_process: MakeProcess) -> None:
    process = make_process()
    with Heartbeat(process, claim(process)) as heartbeat:
        process.stop.set()
        with pytest.raises(StopRequested):
            heartbeat.check()


def test_attempt_that_was_taken_over_is_stale(make_process: MakeProcess) -> None:
    process = make_process()
    attempt = claim(process, lease_s=-1)
    process.database.write(lambda session: recovery.reap(session, max_crashes=3))
    with Heartbeat(process, attempt) as heartbeat:
        error = wait_until(lambda: interruption(heartbeat), "the attempt is found stale")
    assert isinstance(error, StaleAttempt)


def test_attempt_ends_itself_when_its_lease_cannot_be_renewed(
    make_process: MakeProcess, tmp_path: Path
) -> None:
    process = make_process(lease_s=0.3, heartbeat_s=0.1)
    away = Database(f"sqlite:///{tmp_path / 'away.db'}", patience_s=0)  # no table, so as good as no database
    with Heartbeat(replace(process, heartbeat_database=away), claim(process)) as heartbeat:
        error = wait_until(lambda: interruption(heartbeat), "two thirds of the lease have passed")
    assert isinstance(error, LeaseLost)
    away.dispose()


def test_attempt_that_slept_past_its_lease_and_is_still_the_jobs_goes_on(make_process: MakeProcess) -> None:
    process = make_process(lease_s=0.3, heartbeat_s=10.0)
    attempt = claim(process, lease_s=-1)
    before = lease_end(process, attempt.job_id)
    with Heartbeat(process, attempt) as heartbeat:
        wait_until(
            lambda: interruption(heartbeat) or lease_end(process, attempt.job_id) != before,
            "the thread that runs the job renews the lease",
        )
        heartbeat.check()


def test_attempt_that_takes_too_long_is_told_so(make_process: MakeProcess) -> None:
    process = make_process()
    with Heartbeat(process, claim(process), max_runtime_s=0.05) as heartbeat:
        error = wait_until(lambda: interruption(heartbeat), "the time limit has passed")
    assert isinstance(error, MaxRuntimeExceeded)
    assert "max_runtime_s" in str(error)


def test_process_whose_step_hangs_reports_it_and_ends(make_process: MakeProcess) -> None:
    process = make_process(no_progress_s=0.1)
    attempt = claim(process)
    ended: list[int] = []
    exited = Event()

    def exit_process(status: int) -> None:
        ended.append(status)
        exited.set()

    with Heartbeat(process, attempt, exit_process=exit_process):
        assert exited.wait(10)
    job = process.database.read(lambda session: job_queries.get(session, attempt.job_id))
    assert ended[0] == os.EX_SOFTWARE
    assert job.state == JobState.FAILED
    assert job.error is not None
    assert job.error.code == "timeout"


def test_report_that_takes_long_is_no_hang(make_process: MakeProcess) -> None:
    process = make_process(no_progress_s=0.1, heartbeat_s=0.05)
    exited = Event()
    attempt = claim(process, lease_s=-1)
    before = lease_end(process, attempt.job_id)
    with Heartbeat(process, attempt, exit_process=lambda _: exited.set()) as heartbeat:
        heartbeat.no_more_steps()
        assert not exited.wait(0.5)
        wait_until(lambda: lease_end(process, attempt.job_id) != before, "the lease is renewed all the same")


def test_process_that_makes_progress_goes_on(make_process: MakeProcess) -> None:
    process = make_process(no_progress_s=0.2)
    exited = Event()
    attempt = claim(process)
    with Heartbeat(process, attempt, exit_process=lambda _: exited.set()) as heartbeat:
        pause = Event()
        for _ in range(20):
            heartbeat.check()
            pause.wait(0.02)
    assert not exited.is_set()
