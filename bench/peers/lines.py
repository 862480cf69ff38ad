"""The protocol of a peer: a line of JSON for each command, `[name, arguments]`, and for each result."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def serve(**commands: Callable[..., Any]) -> None:
    """Report that this peer is ready, and run commands until the input ends."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the results
    print(json.dumps("ready"), file=results, flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(commands[name](**arguments)), file=results, flush=True)


@contextmanager
def running(*command: str) -> Iterator[None]:
    """Run a peer's worker, `python -m` and these arguments, for the length of a `with` block."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as worker:
        try:
            yield
        finally:
            worker.terminate()


def milliseconds(times_s: Sequence[float]) -> list[float]:
    """Return seconds as milliseconds."""
    return [1_000 * time_s for time_s in times_s]
