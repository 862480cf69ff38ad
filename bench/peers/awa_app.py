"""awa on PostgreSQL: one worker in this process. Durable.

python -m bench.peers.awa_app URL
"""

import asyncio
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from awa import AsyncClient

from bench.peers.lines import serve

_CONCURRENCY = 64
_POLL_MS = 50
_IDLE_S = 1.0


@dataclass
class Nothing:
    """The arguments of a job that does nothing."""

    number: int


def main() -> None:
    """Create the tables if there are none, and serve commands."""
    runner = asyncio.Runner()
    finished = 0

    async def handle(_job: Any) -> None:
        nonlocal finished
        finished += 1

    async def create() -> None:
        async with AsyncClient(sys.argv[1]) as client:
            await client.migrate()
            await client.install_queue_storage()

    async def submit(jobs: int) -> None:
        async with AsyncClient(sys.argv[1]) as client:
            await client.enqueue_many_copy([Nothing(number) for number in range(jobs)], queue="peer")

    async def work() -> tuple[int, float]:
        """Work until no job has come for a second; return the number of jobs run, and when the last ended."""
        nonlocal finished
        client = AsyncClient(sys.argv[1])
        client.task(Nothing, queue="peer")(handle)
        finished, last_s, started_at = 0, 0.0, perf_counter()
        await client.start([("peer", _CONCURRENCY)], poll_interval_ms=_POLL_MS)
        while (passed_s := perf_counter() - started_at) < last_s + _IDLE_S:
            before = finished
            await asyncio.sleep(0.01)
            last_s = passed_s if finished > before else last_s
        await client.shutdown()
        await client.close()
        return finished, last_s

    runner.run(create())
    serve(submit=lambda jobs: runner.run(submit(jobs)), work=lambda: runner.run(work()))


if __name__ == "__main__":
    main()
