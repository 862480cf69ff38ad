"""Processes under test: starting, signalling and killing them, and requests to an API process."""

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
from tests.support.servers import NO_TLS
from tests.support.stub_executor import STEP_S
from tests.support.waiting import wait_until

STEPS = 30  # per epoch
# with the stub executor; longer than the recorder's commit interval, so that each epoch is a commit
EPOCH_S = STEPS * STEP_S


class Program:
    """A process and its descendants, in their own session; `code` is the folder whose modules it runs."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path, code: Path = ROOT) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=code,
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
        """Exit status; None while the process runs."""
        return self._process.poll()

    def send(self, number: Signals) -> None:
        """Send a signal to the process itself only."""
        self._process.send_signal(number)

    def send_all(self, number: Signals) -> None:
        """Send a signal to the process and every descendant."""
        for process in self._descendants():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        self.send(number)

    def kill(self) -> None:
        """Kill the process itself with SIGKILL; its descendants are not signalled."""
        self.send(Signals.SIGKILL)
        self._process.wait()

    def kill_all(self) -> None:
        """Kill the process and every descendant with SIGKILL."""
        self.send_all(Signals.SIGKILL)
        self._process.wait()

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for the end of the process; return its exit status."""
        return self._process.wait(timeout)

    def pool(self) -> list[psutil.Process]:
        """Return the pool processes of a worker."""
        return [process for process in self._descendants() if _runs(process, "spawn_main")]

    def logged(self, text: str) -> int:
        """Return how often the log contains a text."""
        return self.log.read_text(errors="replace").count(text)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def _runs(process: psutil.Process, text: str) -> bool:
    try:
        return any(text in argument for argument in process.cmdline())
    except psutil.Error:
        return False


@dataclass(frozen=True)
class Api:
    """An API process and its address."""

    program: Program
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def responds(self) -> bool:
        assert self.program.code is None, f"the API ended:\n{self.program.log.read_text()}"
        try:
            return httpx.get(f"{self.url}/livez", verify=NO_TLS).is_success
        except httpx.TransportError:
            return False

    def submit(
        self,
        key: str | None = None,
        timeout: float = 10.0,
        headers: dict[str, str] | None = None,
        **spec: Any,
    ) -> httpx.Response:
        """POST a job; raises httpx.TransportError if the API is killed meanwhile."""
        body = {"kind": "train", "spec": training(**spec).model_dump(mode="json")}
        return self.post("jobs", body, key, timeout, headers)

    def post(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        key: str | None = None,
        timeout: float = 10.0,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """POST to a path under /v1; raises httpx.TransportError if the API is killed meanwhile."""
        headers = {**({"Idempotency-Key": key} if key else {}), **(headers or {})}
        url = f"{self.url}/v1/{path}"
        return httpx.post(url, json=body, headers=headers, timeout=timeout, verify=NO_TLS)

    def connections(self) -> int:
        """Return how many connections of clients are open."""
        opened = psutil.Process(self.program.pid).net_connections("tcp")
        return sum(connection.status == psutil.CONN_ESTABLISHED for connection in opened)

    def get(self, path: str) -> Any:
        """GET a path under /v1 as JSON; raises on any status but success."""
        return httpx.get(f"{self.url}/v1/{path}", verify=NO_TLS).raise_for_status().json()


def training(**overrides: Any) -> TrainSpec:
    """Return the spec of a job whose 4 epochs take `EPOCH_S` each with the stub executor; keeps weights."""
    values = {"epochs": 4, "train_size": STEPS, "batch_size": 1, "keep_weights": True}
    return make_spec(**{**values, **overrides})


def pass_seconds(seconds: float) -> None:
    """Wait for a fixed time: the duration of a fault, or the time that a fault needs to take effect."""
    started_at = monotonic()
    wait_until(lambda: monotonic() - started_at > seconds, "time passes", timeout=seconds + 5)
