"""The load of `bench.chaos` on each system: jobs submitted at a fixed rate, and a record of each execution.

The peers' processes use this module too, so it needs the standard library only. Times are of the monotonic
clock, which all processes of a host share.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic

WORK_S = 0.1
"""Seconds that a job takes, so that a kill hits running jobs."""

RATE = 8.0
"""Jobs submitted per second."""

END_S = 45.0
"""Seconds within which a producer ends after SIGTERM."""

_AT_ONCE = 64
_SUBMISSION_S = 30.0


class Log:
    """A file to which processes append lines, each by one write, so that a kill leaves whole lines."""

    def __init__(self, path: Path | str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)

    def append(self, *values: float) -> None:
        """Append a line of numbers."""
        os.write(self._file, f"{' '.join(map(repr, values))}\n".encode())

    def executed(self, number: int) -> None:
        """Record that the job with this number has done its work."""
        self.append(number, monotonic())


async def produce(submit: Callable[[int], Awaitable[object]], path: Path | str) -> None:
    """Submit numbered jobs at `RATE` until SIGTERM, and record each: number, sent, answered, accepted.

    Jobs are sent when they are due, whether or not earlier ones have been answered. A job that is refused,
    or not answered in time, is not sent again.
    """
    log, stopped, limit = Log(path), asyncio.Event(), asyncio.Semaphore(_AT_ONCE)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

    async def submit_one(number: int) -> None:
        sent_at, accepted = monotonic(), True
        try:
            async with limit:
                await asyncio.wait_for(submit(number), _SUBMISSION_S)
        except Exception as error:  # any kind: each system has its own errors
            print(f"job {number} was refused: {error!r}", file=sys.stderr, flush=True)
            accepted = False
        log.append(number, sent_at, monotonic(), int(accepted))

    started_at, number = monotonic(), 0
    async with asyncio.TaskGroup() as tasks:
        while not stopped.is_set():
            number += 1
            tasks.create_task(submit_one(number))
            await asyncio.sleep(max(0.0, started_at + number / RATE - monotonic()))
