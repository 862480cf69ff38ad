"""The programs of a local stack: child processes, stopped together with the processes that they started."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import SecretStr

from shared.settings import Settings
from trainshed.local.guardian import kill_session

_OLD_LOGS = 5
_TAIL_LINES = 12
_TAIL_BYTES = 8_192
_SECRET_FIELDS = {
    "api_key",
    "api_keys",
    "database_password",
    "read_keys",
}  # dumped by Settings as asterisks


class Program:
    """A program of the stack, in a session of its own.

    Thus Ctrl-C in the terminal does not reach it, and the processes that it starts can be killed with it.

    Attributes:
        name: the program's name in messages.
        log: the file of the program's output; the logs of the last five runs are kept with `.1`, the newest,
            to `.5` appended to the name.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], grace_s: float
    ) -> None:
        """Prepare to start with only these variables; `grace_s` is the time from SIGTERM to SIGKILL."""
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int:
        """The id of the program's process, and of its session."""
        assert self._process is not None, f"the {self.name} was not started"
        return self._process.pid

    @property
    def age_s(self) -> float:
        """Seconds since the program was started."""
        return monotonic() - self._started_at

    def start(self) -> None:
        """Start the program, with a new log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        logs = [self.log, *(self.log.with_name(f"{self.log.name}.{age}") for age in range(1, _OLD_LOGS + 1))]
        for newer, older in reversed(list(pairwise(logs))):
            if newer.exists():
                newer.replace(older)
        self._launch()

    def restart(self) -> None:
        """Start the program again after it ended, and kill the processes that it left behind."""
        self._kill()
        self._launch()

    def exit_reason(self) -> str:
        """Return how the program ended, such as `exit code 1`; empty while it runs."""
        code = self._process.poll() if self._process else None
        if code is None:
            return ""
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """Terminate the program; after the grace period, or at once on Ctrl-C, kill its whole session."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_s)
        finally:
            self._kill()

    def tail(self) -> str:
        """Return the last lines of the program's log, indented."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(f"  {line}" for line in text.splitlines()[-_TAIL_LINES:])

    def _launch(self) -> None:
        self._started_at = monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _kill(self) -> None:
        kill_session(self.pid)
        if self._process is not None:
            self._process.wait()


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment, with variables that give a child these settings."""
    prefix = settings.model_config.get("env_prefix", "")
    explicit = settings.model_fields_set
    secrets = {name: _revealed(getattr(settings, name)) for name in _SECRET_FIELDS & explicit}
    values = settings.model_dump(mode="json", include=explicit - _SECRET_FIELDS)
    variables = {
        f"{prefix}{name.upper()}": _serialized(value) for name, value in {**values, **secrets}.items()
    }
    return {**os.environ, **variables}  # noqa: TID251 (passed on, not read: PATH, CUDA's, TensorFlow's)


def _revealed(value: SecretStr | tuple[SecretStr, ...]) -> str:
    secrets = value if isinstance(value, tuple) else (value,)
    return ",".join(secret.get_secret_value() for secret in secrets)


def _serialized(value: Any) -> str:
    """Return a setting's value in the form that `Settings` parses."""
    if isinstance(value, list):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)
