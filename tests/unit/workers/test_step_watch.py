"""A worker's parent ends attempts whose step does not return, in place of their process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.lifecycle import AttemptOutcome, JobState
from tests.support import queue_driver, stored
from tests.support.fakes import MonotonicClock
from tests.support.queue_driver import AttemptId, running
from workers import attempt_trace, pulse
from workers.marks import Orders
from workers.pulse import Pulse, PulseReader
from workers.step_watch import StepWatch

T = TypeVar("T")

NO_PROGRESS_S = 60.0
INTERRUPTED = "its step went on after it was interrupted"


class Step:
    """An attempt whose step lasts, and its parent."""

    def __init__(self, database: Database, file: Path) -> None:
        self.clock = MonotonicClock()
        self.database = database
        self.own = Pulse(file, lease_s=30.0, clock=self.clock)
        file.rename(pulse.path(f"{id(self)}"))
        reader = PulseReader.adopt(f"{id(self)}", self.clock)
        assert reader is not None
        self.reader = reader
        self.watch = StepWatch(reader, database, no_progress_s=NO_PROGRESS_S, clock=self.clock)
        self.attempt = running(database)

    def passes(self, seconds: float, *, is_stopping: bool = False) -> str:
        """Look each half second until the process must be ended, or this time has passed; return why."""
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            because = self.watch.look(is_stopping=is_stopping)
            if because:
                return because
        return ""

    @property
    def state(self) -> str:
        return stored.state(self.database, self.attempt.job_id)

    @property
    def outcome(self) -> str | None:
        return stored.attempt(self.database, self.attempt.job_id, 1).outcome


@pytest.fixture
def step(database: Database, tmp_path: Path) -> Iterator[Step]:
    step = Step(database, tmp_path / "pulse")
    with step.own.holding([step.attempt]):
        step.own.begin(0)
        step.passes(0.5)
        yield step
    step.reader.close()
    step.own.close()


@pytest.fixture
def unavailable(tmp_path: Path) -> Iterator[Database]:
    """A database without tables: every write fails."""
    with Database(f"sqlite:///{tmp_path / 'empty.db'}", patience_s=0) as database:
        yield database


def test_a_step_that_outlasts_a_cancel_ends_the_job_at_once_and_the_process_after_5_s(step: Step) -> None:
    queue_driver.cancel(step.database, step.attempt.job_id)
    step.reader.tell(Orders(cancelled=frozenset([step.attempt])))
    assert step.passes(0.5) == ""
    assert step.state == JobState.RUNNING
    assert step.passes(0.5) == ""
    assert step.state == JobState.CANCELLED
    assert step.passes(3.5) == ""
    assert step.passes(1.0) == INTERRUPTED
    assert step.outcome == AttemptOutcome.CANCELLED


def test_a_step_that_returns_after_a_cancel_reports_it_itself(step: Step) -> None:
    queue_driver.cancel(step.database, step.attempt.job_id)
    step.reader.tell(Orders(cancelled=frozenset([step.attempt])))
    step.own.reporting()
    assert step.passes(60.0) == ""
    assert step.state == JobState.RUNNING


def test_a_step_that_outlasts_a_stop_of_the_worker_releases_the_job(step: Step) -> None:
    assert step.passes(4.5, is_stopping=True) == ""
    assert step.state == JobState.RUNNING
    assert step.passes(1.0, is_stopping=True) == INTERRUPTED
    assert (step.state, step.outcome) == (JobState.QUEUED, AttemptOutcome.RELEASED)


def test_a_step_that_outlasts_its_lease_leaves_the_job_to_others(step: Step) -> None:
    queue_driver.expire(step.database, step.attempt)
    queue_driver.claim(step.database, step.attempt.job_id)
    step.reader.tell(Orders(stale=frozenset([step.attempt])))
    assert step.passes(6.0) == INTERRUPTED
    assert (step.state, step.outcome) == (JobState.RUNNING, AttemptOutcome.LOST)


def test_a_process_whose_step_finishes_no_more_fails_its_job(step: Step) -> None:
    assert step.passes(NO_PROGRESS_S) == ""
    assert step.passes(0.5) == "its step hangs: no step was finished for 60 s"
    error = stored.detail(step.database, step.attempt.job_id).error
    assert error is not None
    assert (step.state, error.code, error.message) == (
        JobState.FAILED,
        "timeout",
        "no step was finished for 60 s",
    )


def test_a_step_that_goes_on_after_the_time_limit_fails_the_job_5_s_later(step: Step) -> None:
    step.own.begin(0, 10.0)
    assert step.passes(15.0) == ""
    assert step.passes(1.0).startswith("its step hangs: the attempt ran for longer than max_runtime_s, 10:")
    assert (step.state, step.outcome) == (JobState.FAILED, AttemptOutcome.FAILED)


def test_steps_that_finish_in_time_are_left_alone(step: Step) -> None:
    for _ in range(10):
        assert step.passes(NO_PROGRESS_S - 1) == ""
        step.own.check() if not step.own.is_alone() else step.own.begin(0)
    assert step.state == JobState.RUNNING


def test_a_long_report_is_not_a_hung_step(step: Step) -> None:
    step.own.begin(0, 1.0)
    step.own.reporting()
    assert step.passes(2 * NO_PROGRESS_S, is_stopping=True) == ""
    assert step.state == JobState.RUNNING


def test_a_step_that_returns_during_the_report_keeps_its_process(step: Step, database_url: str) -> None:
    class Slow(Database):
        def write(self, work: Callable[[Session], T]) -> T:
            step.own.reporting()
            return super().write(work)

    with Slow(database_url) as slow:
        step.watch = StepWatch(step.reader, slow, no_progress_s=NO_PROGRESS_S, clock=step.clock)
        assert step.passes(2 * NO_PROGRESS_S) == ""
    assert step.state == JobState.FAILED


def test_an_attempt_that_has_not_begun_does_not_hang(database: Database, step: Step) -> None:
    with step.own.holding([step.attempt, running(database)]):
        assert step.passes(2 * NO_PROGRESS_S, is_stopping=True) == ""


def test_a_process_in_which_nothing_runs_is_left_to_the_pool_watch(step: Step) -> None:
    step.reader.tell(Orders(stale=frozenset([step.attempt])))
    step.reader.silence_s = 6.0
    assert step.passes(2 * NO_PROGRESS_S) == ""


def test_time_in_which_parent_and_process_were_suspended_counts_for_a_second(step: Step) -> None:
    for _ in range(10):
        step.clock.advance(10_000)
        assert step.watch.look(is_stopping=False) == ""
    assert step.state == JobState.RUNNING


def test_an_interrupted_step_waits_for_a_database_that_is_away(step: Step, unavailable: Database) -> None:
    step.watch = StepWatch(step.reader, unavailable, no_progress_s=NO_PROGRESS_S, clock=step.clock)
    assert step.passes(20.0, is_stopping=True) == ""


def test_a_step_that_hangs_for_too_long_is_ended_without_the_database_too(
    step: Step, unavailable: Database, caplog: pytest.LogCaptureFixture
) -> None:
    step.watch = StepWatch(step.reader, unavailable, no_progress_s=NO_PROGRESS_S, clock=step.clock)
    assert step.passes(NO_PROGRESS_S + 1) == "its step hangs: no step was finished for 60 s"
    assert "hung attempt not reported" in caplog.text


@pytest.mark.parametrize("hangs", ["for too long", "after a cancel"])
def test_the_span_of_an_attempt_is_recorded_when_its_process_is_ended_and_not_before(
    step: Step, hangs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[AttemptId, AttemptOutcome, str | None]] = []

    def record(ended: Any, outcome: AttemptOutcome, failure: object) -> None:
        recorded.append((ended.attempt, outcome, getattr(failure, "code", None)))

    monkeypatch.setattr("shared.tracing.are_on", lambda: True)
    monkeypatch.setattr(attempt_trace, "record_ended", record)
    if hangs == "after a cancel":
        queue_driver.cancel(step.database, step.attempt.job_id)
        step.reader.tell(Orders(cancelled=frozenset([step.attempt])))
        assert step.passes(2.0) == ""
        assert step.state == JobState.CANCELLED
        assert recorded == []
    assert step.passes(2 * NO_PROGRESS_S) != ""
    ended = (
        (AttemptOutcome.CANCELLED, None) if hangs == "after a cancel" else (AttemptOutcome.FAILED, "timeout")
    )
    assert recorded == [(step.attempt, *ended)]
