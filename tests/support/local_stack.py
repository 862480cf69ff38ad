"""A local stack on a folder of the test's: its settings, its processes and `trainshed` on it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from uuid import UUID

import psutil

from shared.schemas import TrainJobCreate, TrainRequest
from shared.settings import Settings
from trainshed import Client
from trainshed.local import ports
from trainshed.local.processes import environment

HOST = "127.0.0.1"
START_S = 60.0


def stack_settings(folder: Path) -> Settings:
    """Settings of a stack with the stub executor, which recovers lost jobs within seconds."""
    return Settings(
        data_dir=folder,
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
    """Wait until a job has recorded an epoch."""
    for job in server.watch(job_id, timeout_s=START_S):
        if job.progress and job.progress.epoch:
            return


def trainshed(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line on the data of a stack."""
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
