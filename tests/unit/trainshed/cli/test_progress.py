"""A job's progress, for a live display and for lists."""

import pytest

from shared.lifecycle import AttemptOutcome, JobState, Phase
from tests.support.command_line import rendered_lines
from tests.support.fake_api import T0, make_attempt, make_job, make_progress
from trainshed.cli.progress import (
    activity,
    ended_attempts,
    live_progress,
    progress_bar,
    queue_position,
)


@pytest.mark.parametrize("width", [80, 120])
def test_progress_is_as_wide_as_the_terminal(width: int) -> None:
    values = {"loss": 0.1, "accuracy": 0.9, "val_loss": 0.2, "val_accuracy": 0.8}
    job = make_job(
        state=JobState.RUNNING,
        phase=Phase.BUILDING_MODEL,
        attempt=2,
        progress=make_progress(2),
        values=values,
    )
    bar, times, numbers = rendered_lines(live_progress(job), width)
    assert len(bar) == width
    assert bar.startswith("building model")
    assert bar.endswith("epoch 2/3  step 4/6")
    assert times == "attempt 2"
    assert numbers == "loss 0.1000  accuracy 0.9000  val_loss 0.2000  val_accuracy 0.8000"


def test_in_a_narrow_terminal_a_metric_keeps_its_value() -> None:
    values = {"loss": 0.1, "accuracy": 0.9, "val_loss": 0.2, "val_accuracy": 0.8}
    job = make_job(state=JobState.RUNNING, progress=make_progress(2), values=values)
    lines = rendered_lines(live_progress(job), 60)
    assert [line.split() for line in lines[1:]] == [
        ["loss", "0.1000", "accuracy", "0.9000", "val_loss", "0.2000"],
        ["val_accuracy", "0.8000"],
    ]


def test_an_evaluation_jobs_progress_has_no_epochs() -> None:
    job = make_job(kind="evaluate", state=JobState.RUNNING, phase=Phase.EVALUATING, progress=None)
    assert rendered_lines(live_progress(job))[0].startswith("evaluating")


def test_a_running_job_that_was_cancelled_is_cancelling() -> None:
    job = make_job(state=JobState.RUNNING, phase=Phase.TRAINING, cancel_requested_at=T0)
    assert activity(job).plain == "cancelling"


def test_a_running_job_before_its_first_phase_is_running() -> None:
    assert activity(make_job(state=JobState.RUNNING)).plain == "running"


def test_an_ended_attempt_is_described_with_its_error() -> None:
    released = make_attempt(outcome=AttemptOutcome.RELEASED)
    failed = make_attempt(2, outcome=AttemptOutcome.FAILED, error_code="gpu_oom", error_message="too big")
    assert [line.plain for line in ended_attempts(make_job(attempts=(released, failed)))] == [
        "attempt 1 released; will be resumed",
        "attempt 2 failed (gpu_oom: too big); will be retried (failure 1 of 3)",
    ]


def test_before_the_first_epoch_ends_the_bar_claims_nothing() -> None:
    running = make_job(state=JobState.RUNNING, phase=Phase.TRAINING, progress=make_progress(0))
    assert progress_bar(running).total is None
    assert progress_bar(make_job()).total == 6


def test_within_an_epoch_the_bar_goes_on_with_its_steps() -> None:
    progress = make_progress(0).model_copy(update={"step": 1})  # of 6
    bar = progress_bar(make_job(state=JobState.RUNNING, phase=Phase.TRAINING, progress=progress))
    assert bar.completed / (bar.total or 0) == pytest.approx(1 / 6)


def test_the_tenant_of_a_queued_job_is_told_only_where_others_wait_before_it() -> None:
    alone = make_job(queue_position=1, tenant_queued=1, tenant_running=0)
    assert queue_position(alone) == "position 1 in the queue"
    behind = make_job(queue_position=9, tenant_queued=3, tenant_running=1)
    assert "1 of its tenant's 4 jobs run" in queue_position(behind)
