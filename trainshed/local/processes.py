"""The programs that a local stack is made of: started, watched, and stopped without leaving any behind."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import SecretStr

from shared.settings import Settings

_TAIL_LINES = 12
_TAIL_BYTES = 8_192
_SECRET = {"api_key", "api_keys"}  # dumped as stars, as they should be everywhere else


class Program:
    """One program of the stack.

    It has a process group of its own: Ctrl-C in the terminal reaches only who started it, and
    whatever it starts itself is found when it is stopped.

    Attributes:
        name: what people call it.
        log: where its output goes; the one of the run before is kept beside it, with `.1` at its end.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], grace_s: float
    ) -> None:
        """Prepare to start.

        Args:
            name: what people call it.
            command: the program and its arguments.
            log: where its output goes.
            environment: all of it.
            grace_s: seconds that it may take to end when it is asked to, before it is killed.
        """
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int:
        """Of its process, and of its process group."""
        assert self._process is not None, f"the {self.name} was not started"
        return self._process.pid

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return monotonic() - self._started_at

    def start(self) -> None:
        """Start it, with a new log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        self._launch()

    def restart(self) -> None:
        """Start it again after it ended, and kill what it left behind."""
        self._kill()
        self._launch()

    def ended(self) -> str:
        """How it ended, such as `exit code 1`; empty while it runs."""
        code = self._process.poll() if self._process else None
        if code is None:
            return ""
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """Ask it to end, and kill it and all that it started if it does not in time. Interrupted: at once."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_s)
        finally:
            self._kill()

    def tail(self) -> str:
        """The last lines of its log, indented."""
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
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in the group
            os.killpg(self.pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a child that has the same settings as this process: this one's, and what was set."""
    prefix = settings.model_config.get("env_prefix", "")
    secret = {name: _revealed(getattr(settings, name)) for name in _SECRET & settings.model_fields_set}
    values = settings.model_dump(mode="json", include=settings.model_fields_set - _SECRET)
    ours = {f"{prefix}{name.upper()}": _written(value) for name, value in {**values, **secret}.items()}
    return {**os.environ, **ours}  # noqa: TID251 (handed on, not read: PATH, CUDA's, TensorFlow's)


def _revealed(value: SecretStr | tuple[SecretStr, ...]) -> str:
    secrets = value if isinstance(value, tuple) else (value,)
    return ",".join(secret.get_secret_value() for secret in secrets)


def _written(value: Any) -> str:
    """A setting's value as `Settings` reads it from the environment."""
    if isinstance(value, list):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)
