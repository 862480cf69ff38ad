"""The complete local stack, with a real Redis, API and worker; the demo also with the real trainer."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from operator import contains
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from shared.lifecycle import AttemptOutcome, JobState
from shared.schemas import ApiKeyCreate, Scope, TrainJobCreate, TrainRequest
from shared.settings import Settings
from tests.support.paths import ROOT
from tests.support.waiting import wait_until
from trainshed import Client
from trainshed.errors import StackRunning
from trainshed.local import ports
from trainshed.local.processes import environment
from trainshed.local.stack import LocalStack

HOST = "127.0.0.1"
START_S = 60.0


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a stack with the stub executor, which recovers lost jobs within seconds."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Settings(
        data_dir=tmp_path,
        port=ports.find_free(HOST),
        executor="tests.support.stub_executor:StubExecutor",
        lease_s=3.0,
        heartbeat_s=0.5,
        reconcile_s=0.5,
        redispatch_s=1.0,
    )


def job(epochs: int) -> TrainJobCreate:
    """A job that takes half a second per epoch."""
    return TrainJobCreate(spec=TrainRequest(dataset="digits", epochs=epochs, batch_size=32, seed=1))


def stack_processes(settings: Settings) -> list[psutil.Process]:
    """The processes of the stack on this data, by the folder in their environment."""
    processes = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("TRAINSHED_DATA_DIR") == str(settings.data_dir)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except psutil.Error:  # it has ended, or is another user's
            continue
    return processes


def program(settings: Settings, *words: str) -> psutil.Process:
    """The stack's process whose command line has these words."""
    (process,) = [process for process in stack_processes(settings) if set(words) <= set(process.cmdline())]
    return process


def wait_for_an_epoch(server: Client, job_id: UUID) -> None:
    for job in server.watch(job_id, timeout_s=START_S):
        if job.progress and job.progress.epoch:
            return


def trainshed(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainshed.cli.main", *arguments],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running_up(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """`trainshed up`, once it has reported that the stack runs."""
    up = trainshed(settings, "up", "--json")
    assert up.stdout is not None
    try:
        document = list(takewhile("}\n".__ne__, up.stdout))
        assert document, f"it has ended: {up.communicate(timeout=START_S)[1]}"
        assert json.loads("".join(document) + "}") == {
            "url": f"http://{HOST}:{settings.port}",
            "pid": up.pid,
            "data_dir": str(settings.data_dir),
        }
        yield up
    finally:
        up.terminate()
        up.communicate(timeout=START_S)


def test_a_stack_runs_jobs_excludes_a_second_one_and_leaves_no_process(settings: Settings) -> None:
    before = psutil.Process().children()
    with LocalStack(settings) as stack, Client(stack.url) as server:
        submitted = server.submit(job(epochs=2))
        assert server.wait(submitted.id, timeout_s=START_S).state is JobState.SUCCEEDED
        with pytest.raises(StackRunning, match=rf"{stack.url}, process {os.getpid()}"):
            LocalStack(settings).__enter__()
        demo = trainshed(settings, "demo", "--json")  # uses the running stack
        out, err = demo.communicate(timeout=START_S)
        assert demo.returncode == 0, err
        assert "a stack runs on" in err
        assert server.job(UUID(json.loads(out)["id"])).name == "demo"
        key = server.create_api_key(ApiKeyCreate(name="Ada", scope=Scope.ADMIN)).key
        refused, with_key = trainshed(settings, "demo"), trainshed(settings, "demo", "--api-key", key)
        _, err = refused.communicate(timeout=START_S)
        *_, last = err.splitlines()
        assert (last.startswith("Error: this API needs a key: "), refused.returncode) == (True, 2)
        _, err = with_key.communicate(timeout=START_S)
        assert with_key.returncode == 0, err
    assert stack_processes(settings) == []
    assert psutil.Process().children() == before
    assert ports.is_free(HOST, settings.port)


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


def test_the_demo_falls_back_to_digits_without_mnist(tmp_path: Path) -> None:
    nowhere = (tmp_path / "nowhere").as_uri()
    settings = Settings(
        data_dir=tmp_path, mnist_images_url=nowhere, mnist_labels_url=nowhere, download_attempts=1
    )
    with socket.create_server((HOST, 0)) as in_use:  # so the demo chooses another port
        demo = trainshed(settings.model_copy(update={"port": in_use.getsockname()[1]}), "demo")
        out, err = demo.communicate(timeout=110)
    assert demo.returncode == 0, err
    assert "MNIST cannot be fetched: " in err
    assert nowhere in err
    closing = (
        r"10 epochs, 440 batches, validation accuracy 0\.\d{4}, evaluation accuracy (0\.\d{4}) on 197 images"
    )
    summary = re.search(closing, err)
    assert summary, err
    assert float(summary[1]) > 0.85
    assert "9 Nine" in out
    assert sum(line.startswith("epoch ") for line in out.splitlines()) == 10
    assert max(map(len, out.splitlines())) <= 80
    wait_until(lambda: stack_processes(settings) == [], "every process is gone")
