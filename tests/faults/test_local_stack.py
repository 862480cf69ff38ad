"""The programs of a local stack, or the stack itself, are killed: the jobs go on, and nothing is left."""

import signal
from functools import partial
from operator import contains
from pathlib import Path

import pytest

from shared.lifecycle import AttemptOutcome, JobState
from shared.settings import Settings
from tests.support.local_stack import (
    HOST,
    START_S,
    job,
    program,
    running_up,
    stack_processes,
    stack_settings,
    wait_for_an_epoch,
)
from tests.support.paths import ROOT
from tests.support.waiting import wait_until
from trainshed import Client
from trainshed.local.stack import LocalStack

pytestmark = [pytest.mark.faults, pytest.mark.kills]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a stack whose programs find the tests' executor."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return stack_settings(tmp_path)


def test_killed_programs_are_restarted_and_the_job_continues(settings: Settings) -> None:
    lines: list[str] = []
    with LocalStack(settings, report=lines.append) as stack, Client(stack.url) as server:
        submitted = server.submit(job(epochs=6))
        wait_for_an_epoch(server, submitted.id)
        for name, words in (("worker", ("workers",)), ("API", ("trainshed.cli.main", "api"))):
            program(settings, *words).kill()
            restarted = f"the {name} ended with signal SIGKILL: restarting it"
            wait_until(partial(contains, lines, restarted), f"the {name} is restarted")
        finished = server.wait(submitted.id, timeout_s=START_S)
        assert finished.state is JobState.SUCCEEDED
        assert [attempt.outcome for attempt in finished.attempts] == [
            AttemptOutcome.LOST,
            AttemptOutcome.SUCCEEDED,
        ]
        assert [len(metric.y) for metric in server.metrics(submitted.id).series] == [6] * 4


def test_a_killed_stacks_programs_end_and_the_next_stack_continues_its_jobs(settings: Settings) -> None:
    with Client(f"http://{HOST}:{settings.port}") as server:
        with running_up(settings) as up:
            submitted = server.submit(job(epochs=1_000))
            wait_for_an_epoch(server, submitted.id)
            up.kill()
        with running_up(settings) as up:  # at once: it waits for the other's programs
            running = (job for job in server.watch(submitted.id) if job.state is JobState.RUNNING)
            assert next(running).attempts[0].outcome is AttemptOutcome.RELEASED
            up.send_signal(signal.SIGTERM)
            assert up.wait(START_S) == 0
    wait_until(lambda: stack_processes(settings) == [], "every process is gone")
