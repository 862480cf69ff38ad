"""Processes that a test starts, hurts and ends, and what it asks of them."""

import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from time import monotonic
from typing import Any

import httpx
import psutil

from shared.schemas import TrainSpec
from tests.support.factories import make_spec
from tests.support.paths import ROOT
from tests.support.stub_executor import STEP_S
from tests.support.waiting import wait_until

STEPS = 30  # of an epoch
EPOCH_S = STEPS * STEP_S  # with the stub: longer than the least time between two commits


class Program:
    """A process and its descendants, in a session of their own."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.poll()

    def send(self, number: Signals) -> None:
        """Send a signal to the process itself."""
        self._process.send_signal(number)

    def send_all(self, number: Signals) -> None:
        """Send a signal to it and to every descendant."""
        for process in self._descendants():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        self.send(number)

    def kill(self) -> None:
        """kill -9 of the process itself; what becomes of its descendants is its own affair."""
        self.send(Signals.SIGKILL)
        self._process.wait()

    def kill_all(self) -> None:
        """kill -9 of it and of every descendant."""
        self.send_all(Signals.SIGKILL)
        self._process.wait()

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for its end; returns the exit status."""
        return self._process.wait(timeout)

    def pool(self) -> list[psutil.Process]:
        """The pool processes of a worker."""
        return [process for process in self._descendants() if _runs(process, "spawn_main")]

    def logged(self, words: str) -> int:
        """How often its log says something."""
        return self.log.read_text(errors="replace").count(words)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def _runs(process: psutil.Process, words: str) -> bool:
    try:
        return any(words in argument for argument in process.cmdline())
    except psutil.Error:
        return False


@dataclass(frozen=True)
class Api:
    """An API process, and how to speak to it."""

    program: Program
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def answers(self) -> bool:
        assert self.program.code is None, f"the API ended:\n{self.program.log.read_text()}"
        try:
            return httpx.get(f"{self.url}/livez").is_success
        except httpx.TransportError:
            return False

    def submit(self, key: str | None = None, timeout: float = 10.0, **spec: Any) -> httpx.Response:
        """POST a job; httpx.TransportError if the API dies of it."""
        return httpx.post(
            f"{self.url}/v1/jobs",
            json={"kind": "train", "spec": training(**spec).model_dump(mode="json")},
            headers={"Idempotency-Key": key} if key else {},
            timeout=timeout,
        )

    def get(self, path: str) -> Any:
        """GET what must be there, as JSON."""
        return httpx.get(f"{self.url}/v1/{path}").raise_for_status().json()


def training(**overrides: Any) -> TrainSpec:
    """A job of 4 epochs of about `EPOCH_S` with the stub."""
    return make_spec(**{"epochs": 4, "train_size": STEPS, "batch_size": 1, **overrides})


def pass_seconds(seconds: float) -> None:
    """Let a fault last."""
    begun = monotonic()
    wait_until(lambda: monotonic() - begun > seconds, "time passes", timeout=seconds + 5)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
