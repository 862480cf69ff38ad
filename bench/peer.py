"""Peers in processes of their own, with the packages of `.venv-bench`, which `make bench` installs.

A peer reads commands from its standard input, and writes one line of JSON for each: see `bench.peers.lines`.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

from bench.servers import ROOT

PYTHON = Path(ROOT) / ".venv-bench" / "bin" / "python"
"""The interpreter of the peers' environment."""

MISSING = "the peers are not installed; `make bench` installs them"


def installed() -> bool:
    """Return whether the peers' packages are installed."""
    return PYTHON.exists()


class Peer:
    """A module of `bench.peers` that runs until the end of a `with` block."""

    def __init__(self, module: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [str(PYTHON), "-m", f"bench.peers.{module}", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._name = module

    def __enter__(self) -> Self:
        """Wait until the peer is ready."""
        self.hear()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # ends the peer
        self._process.wait()

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have the peer run a command; return its result."""
        self.tell(command, **arguments)
        return self.hear()

    def tell(self, command: str, **arguments: Any) -> None:
        """Have the peer start a command, whose result `hear` returns."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([command, arguments])}\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Wait for the peer's next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the peer {self._name} ended"
        return json.loads(line)
