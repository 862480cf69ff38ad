"""A job is followed until it is finished: with a progress bar in a terminal, in lines elsewhere."""

import io

import pytest
from rich.console import Console

from shared.lifecycle import AttemptOutcome, JobState, Phase
from tests.support.fake_api import FakeApi, make_attempt, make_job, make_states
from trainshed.cli.follow import follow


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def terminal() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=True)


def pipe() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_in_a_pipe_each_phase_and_each_epoch_is_a_line(api: FakeApi) -> None:
    states, console = make_states(make_job()), pipe()
    assert follow(api.connect(), api.add(*states), console) == states[-1]
    assert written(console).splitlines() == [
        "queued",
        "loading data",
        "training",
        "epoch 1/3  loss 1.0000  accuracy 0.5000  val_loss 1.1000  val_accuracy 0.4000",
        "epoch 2/3  loss 0.5000  accuracy 0.7500  val_loss 0.5500  val_accuracy 0.7000",
        "epoch 3/3  loss 0.3333  accuracy 0.8333  val_loss 0.3667  val_accuracy 0.8000",
    ]


def test_epochs_are_printed_before_a_later_phase(api: FakeApi) -> None:
    queued, *_, done = make_states(make_job())
    late = done.model_copy(update={"state": JobState.RUNNING, "phase": Phase.EVALUATING, "version": 3})
    console = pipe()
    follow(api.connect(), api.add(queued, late, done), console)
    assert [line.split()[0] for line in written(console).splitlines()] == [
        "queued", "epoch", "epoch", "epoch", "evaluating"
    ]  # fmt: skip


def test_an_attempt_that_ended_before_the_job_is_reported_once(api: FakeApi) -> None:
    queued, *_, done = make_states(make_job())
    lost = make_attempt(outcome=AttemptOutcome.LOST, error_code="worker_lost", error_message="no heartbeat")
    waiting = queued.model_copy(update={"version": 2, "attempts": (lost,)})
    again = waiting.model_copy(update={"version": 3, "state": JobState.RUNNING, "phase": Phase.TRAINING})
    finished = done.model_copy(update={"attempts": (lost, *done.attempts)})
    for console in (pipe(), terminal()):
        follow(api.connect(), api.add(queued, waiting, again, finished), console)
        assert written(console).count("attempt 1 lost (worker_lost: no heartbeat)") == 1


def test_the_last_attempts_failure_is_left_to_the_outcome(api: FakeApi) -> None:
    failed = make_attempt(outcome=AttemptOutcome.FAILED, error_code="internal", error_message="it broke")
    job = make_job(state=JobState.FAILED, attempt=1, attempts=(failed,))
    console = pipe()
    follow(api.connect(), api.add(job), console)
    assert written(console) == ""


def test_an_evaluation_job_is_followed(api: FakeApi) -> None:
    queued = make_job(kind="evaluate", progress=None)
    done = queued.model_copy(update={"state": JobState.SUCCEEDED, "version": 2})
    console = pipe()
    assert follow(api.connect(), api.add(queued, done), console) == done
    assert written(console) == "queued\n"


def test_in_a_terminal_the_bar_ends_full(api: FakeApi) -> None:
    states, console = make_states(make_job()), terminal()
    assert follow(api.connect(), api.add(*states), console) == states[-1]
    assert "epoch 3/3  step 6/6" in written(console)
    assert "val_accuracy 0.8000" in written(console)
