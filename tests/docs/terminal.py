"""A terminal of a reader: runs the commands of a page in order, and keeps variables and the folder."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from types import TracebackType
from typing import NamedTuple, Self

from tests.docs.forms import HOST
from tests.support.waiting import wait_until

_LIMIT_S = 180.0
_READY_S = 120.0
_STOP_S = 60.0
_ADDRESS = re.compile(r"\b(localhost|127\.0\.0\.1):8000\b")


class Result(NamedTuple):
    """What a command has printed, to stdout and stderr, and its exit code; None while it runs."""

    output: str
    exit_code: int | None


class Terminal:
    """Runs commands in a folder with bash; those that still run are stopped at the end of the `with` block.

    Pages say port 8000, a folder `~/trainshed` and a host `myhost`: here they are others.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], port: int) -> None:
        self._folder = folder
        self._variables = dict(environment)
        self._port = port
        self._started: list[subprocess.Popen[str]] = []
        self._logs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._started):
            _end(process)

    def run(self, code: str) -> Result:
        """Run a command to its end, which must come within three minutes."""
        state = self._folder.parent / "variables"
        # what a command assigns or exports is there for the next one
        script = f"set -a; trap 'env -0 > {state}' EXIT\n{self._here(code)}\n"
        process = self._start(["bash", "-c", script], subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return Result(f"{output}\nended after {_LIMIT_S:.0f} s", None)
        self._variables = dict(item.split("=", 1) for item in state.read_text().split("\0") if item)
        return Result(self._as_on_the_page(output), process.returncode)

    def run_python(self, code: str) -> Result:
        """Run a program by the checkout's Python."""
        process = self._start([".venv/bin/python", "-c", self._here(code)], subprocess.PIPE)
        output, _ = process.communicate(timeout=_LIMIT_S)
        return Result(self._as_on_the_page(output), process.returncode)

    def start(self, code: str, is_ready: Callable[[str], bool]) -> Result:
        """Start a command in a terminal of its own, and wait until its output says that it is ready."""
        self._logs += 1
        log = self._folder.parent / f"terminal-{self._logs}.log"
        with log.open("w") as file:
            # which a shell that runs this in its background has it ignore
            interruptible = ["env", "--default-signal=INT"]
            process = self._start([*interruptible, "bash", "-c", f"exec {self._here(code)}"], file.fileno())

        def output() -> str:
            return self._as_on_the_page(log.read_text())

        with suppress(AssertionError):
            wait_until(lambda: is_ready(output()) or process.poll() is not None, f"{code} is ready", _READY_S)
        return Result(output(), process.poll())

    def _start(self, command: list[str], output: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def _here(self, code: str) -> str:
        return _ADDRESS.sub(rf"\1:{self._port}", code).replace(f"{HOST}:", f"{gethostname()}:")

    def _as_on_the_page(self, output: str) -> str:
        on_the_page = {
            f":{self._port}": ":8000",
            str(self._folder): "~/trainshed",
            f"{gethostname()}:": f"{HOST}:",
        }
        for here, there in on_the_page.items():
            output = output.replace(here, there)
        return output


def _end(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C, which reaches all processes of the terminal."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
