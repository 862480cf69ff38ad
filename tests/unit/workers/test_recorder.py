"""A running training job is preempted by an urgent one at its next epoch, and resumes as if nothing was."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from shared.formats.epochs import EpochMetrics, count_steps
from shared.formats.results import Produced
from shared.lifecycle import AttemptOutcome, JobState
from shared.schemas import JobDetail, Priority, TrainSpec
from tests.support import queue_driver, registry, stored
from tests.support.factories import make_spec
from tests.support.pool_processes import watched
from tests.support.stub_executor import StubExecutor
from tests.support.waiting import wait_until
from tests.unit.workers.conftest import MakeProcess, claim_one, run_attempt, run_next
from workers import runner
from workers.executor import Checkpoint, Monitor
from workers.pending import PendingProgress
from workers.pool_process import PoolProcess


class _UrgentDuring(StubExecutor):
    """Trains; an urgent job is submitted once, during an epoch."""

    def __init__(self, process: PoolProcess, epoch: int) -> None:
        super().__init__(process.settings, step_s=0.3)  # epochs are written one by one
        self._process, self._epoch = process, epoch
        self.urgent_id: UUID | None = None

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        return super().train(spec, start, _Submitting(monitor, self._submit))

    def _submit(self, epoch: int) -> None:
        if epoch == self._epoch and self.urgent_id is None:
            spec = make_spec(epochs=1)
            self.urgent_id = queue_driver.submit(self._process.database, priority=Priority.URGENT, spec=spec)
            wait_until(lambda: self._process.pulse.preempted_by, "the process is told")


class _Submitting:
    def __init__(self, monitor: Monitor, submit: Callable[[int], None]) -> None:
        self._monitor, self._submit = monitor, submit
        self.phase, self.step, self.check = monitor.phase, monitor.step, monitor.check
        self.data = monitor.data

    def epoch(self, metrics: Any, state: Callable[[], bytes], weights: bytes | None = None) -> None:
        self._submit(metrics.epoch)
        self._monitor.epoch(metrics, state, weights)


def _job(process: PoolProcess, job_id: UUID) -> JobDetail:
    return stored.detail(process.database, job_id)


def _run_with_urgent_job(process: PoolProcess, job_id: UUID, epoch: int) -> UUID:
    """Run the job; an urgent one is submitted during this epoch. Return the urgent one's id."""
    registry.worker(process.database)
    executor = _UrgentDuring(process, epoch)
    claim = claim_one(process)
    assert claim is not None
    assert claim.attempt.job_id == job_id
    with watched(process):
        following = run_attempt(replace(process, executor=executor), claim)
        while following is not None:
            following = run_attempt(process, following)
    assert executor.urgent_id is not None
    return executor.urgent_id


def test_a_job_is_preempted_at_the_epoch_and_runs_on_after_the_urgent_one(
    make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    # each epoch is written by itself, however soon after the last write it ends on a busy machine
    monkeypatch.setattr(runner, "PendingProgress", partial(PendingProgress, interval_s=0.0))
    process = make_process()
    job_id = queue_driver.submit(process.database, spec=make_spec(epochs=3))
    urgent = _run_with_urgent_job(process, job_id, epoch=0)
    preempted, resumed = _job(process, job_id).attempts
    assert (preempted.outcome, resumed.outcome) == (AttemptOutcome.RELEASED, AttemptOutcome.SUCCEEDED)
    [first] = _job(process, urgent).attempts
    assert first.outcome == AttemptOutcome.SUCCEEDED
    assert preempted.finished_at is not None
    assert first.finished_at is not None
    assert preempted.finished_at <= first.started_at < first.finished_at <= resumed.started_at
    released = [event for event in stored.events(process.database, job_id) if event.type == "released"]
    assert [event.data for event in released] == [{"preempted_by": str(urgent)}]
    assert stored.epoch_attempts(process.database, job_id) == [1, 2, 2]


def test_a_preempted_job_has_the_results_of_an_undisturbed_one(make_process: MakeProcess) -> None:
    process = make_process()
    spec = make_spec(epochs=3, keep_weights=True)
    undisturbed = queue_driver.submit(process.database, spec=spec)
    run_next(process)
    job_id = queue_driver.submit(process.database, spec=spec)
    _run_with_urgent_job(process, job_id, epoch=1)
    assert _results(process, job_id) == _results(process, undisturbed)


def _results(process: PoolProcess, job_id: UUID) -> tuple[Any, ...]:
    def read(session: Any) -> tuple[Any, ...]:
        epochs = [(epoch.values, epoch.steps) for epoch in stored.epochs(session, job_id)]
        return epochs, stored.weights(session, job_id), _job(process, job_id).values

    return process.database.read(read)


def test_a_job_whose_last_epoch_is_done_is_not_preempted(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = queue_driver.submit(process.database, spec=make_spec(epochs=1))
    urgent = _run_with_urgent_job(process, job_id, epoch=0)
    assert [attempt.outcome for attempt in _job(process, job_id).attempts] == [AttemptOutcome.SUCCEEDED]
    assert _job(process, urgent).state == JobState.SUCCEEDED


class _NotFinite(StubExecutor):
    """Reports metrics of its own names beside its usual ones, of which some are not finite numbers."""

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        return super().train(spec, start, _Adding(monitor))


class _Adding:
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.phase, self.step, self.check = monitor.phase, monitor.step, monitor.check
        self.data = monitor.data

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes], weights: bytes | None = None) -> None:
        values = {"r2": -30.0, "val/mae": math.nan, "perplexity": math.inf}
        steps = {"rate": [0.1, math.nan]}
        self._monitor.epoch(EpochMetrics.of(metrics.epoch, 0.1, values, steps), state, weights)


def test_a_metric_of_any_name_is_recorded_and_noticed_once_if_it_is_not_finite(
    make_process: MakeProcess, caplog: pytest.LogCaptureFixture
) -> None:
    process = make_process()
    job_id = queue_driver.submit(process.database, spec=make_spec(epochs=3))
    claim = claim_one(process)
    assert claim is not None

    run_attempt(replace(process, executor=_NotFinite(process.settings)), claim)

    job = _job(process, job_id)
    assert job.state == JobState.SUCCEEDED
    assert {name: job.values[name] for name in ("r2", "val/mae", "perplexity")} == {
        "r2": -30.0,
        "val/mae": None,
        "perplexity": None,
    }
    assert stored.values(process.database, job_id).keys() == {"r2", "evaluation_accuracy", "evaluation_loss"}
    assert caplog.text.count("a metric is not a finite number, and recorded as none") == 3


class _StopsWithin(StubExecutor):
    """Trains; its worker is asked to stop at the third step of the second epoch."""

    def __init__(self, process: PoolProcess) -> None:
        super().__init__(process.settings)
        self._process = process

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        return super().train(spec, start, _Stopping(monitor, self._process))


class _Stopping:
    def __init__(self, monitor: Monitor, process: PoolProcess) -> None:
        self._monitor, self._process = monitor, process
        self.phase, self.epoch, self.check = monitor.phase, monitor.epoch, monitor.check
        self.data = monitor.data

    def step(self, so_far: Callable[[], EpochMetrics]) -> None:
        if so_far().epoch == 1 and count_steps(so_far().steps) == 3:
            self._process.stop.set()
        self._monitor.step(so_far)


def test_a_job_that_was_stopped_within_an_epoch_has_the_curve_of_an_undisturbed_one(
    make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PendingProgress", partial(PendingProgress, interval_s=0.0))
    process = make_process()
    spec = make_spec(epochs=3, train_size=250)  # 5 steps an epoch
    undisturbed = queue_driver.submit(process.database, spec=spec)
    run_next(process)
    job_id = queue_driver.submit(process.database, spec=spec)
    run_next(replace(process, executor=_StopsWithin(process)))
    [(epoch, attempt, steps)] = stored.begun_epochs(process.database, job_id)
    assert (epoch, attempt, count_steps(steps)) == (1, 1, 2)
    process.stop.clear()
    run_next(process)
    assert stored.begun_epochs(process.database, job_id) == []
    assert _results(process, job_id) == _results(process, undisturbed)
    assert stored.epoch_attempts(process.database, job_id) == [1, 2, 2]
