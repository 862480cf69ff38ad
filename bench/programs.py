"""Programs that a benchmark kills and starts again, and that are restarted if they end by themselves."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from time import monotonic

from bench.servers import ROOT

_RESTART_S = 1.0


class Program:
    """A program in a process group of its own, so that its children are killed with it.

    Attributes:
        restarts: how often the program has ended by itself and was started again.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.restarts = 0
        self._command = [sys.executable, *command] if command[0].startswith("-") else list(command)
        self._environment, self._log = {**os.environ, **environment}, log
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    def start(self) -> None:
        """Start the program; its output is appended to its log."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._started_at = monotonic()

    def supervise(self) -> None:
        """Start the program again if it has ended by itself, a second after its start at the earliest."""
        ended = self._process is not None and self._process.poll() is not None
        if ended and monotonic() > self._started_at + _RESTART_S:
            self._signal(SIGKILL)  # children left behind
            self.restarts += 1
            self.start()

    def kill(self) -> None:
        """End the program at once, with its children."""
        if self._process is not None:
            self._signal(SIGKILL)
            self._process.wait()
            self._process = None

    def end(self, within_s: float) -> None:
        """Terminate the program, and kill it with its children after `within_s` seconds at the latest."""
        if self._process is None:
            return
        self._process.send_signal(SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        self.kill()

    def _signal(self, number: Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):  # no process is left
            os.killpg(self._process.pid, number)
