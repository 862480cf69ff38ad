"""awa under faults: creates its tables, submits jobs or works, each in a process of its own.

python -m bench.peers.awa_chaos {create | submit | work} URL [FILE]
"""

import asyncio
import signal
import sys
from dataclasses import dataclass
from typing import Any

from awa import AsyncClient

from bench.chaos_load import WORK_S, Log, produce

_QUEUE = "peer"
_CONCURRENCY = 64
_POLL_MS = 50


@dataclass
class Work:
    """The arguments of a job that waits."""

    number: int


async def _work(client: AsyncClient, log: Log) -> None:
    async def handle(job: Any) -> None:
        await asyncio.sleep(WORK_S)
        log.executed(job.args.number)

    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    client.task(Work, queue=_QUEUE)(handle)
    await client.start([(_QUEUE, _CONCURRENCY)], poll_interval_ms=_POLL_MS)
    await stopped.wait()
    await client.shutdown()


async def main() -> None:
    """Run the command that the command line names."""
    async with AsyncClient(sys.argv[2]) as client:
        match sys.argv[1]:
            case "create":
                await client.migrate()
                await client.install_queue_storage()
            case "submit":
                await produce(lambda number: client.insert(Work(number), queue=_QUEUE), sys.argv[3])
            case _:
                await _work(client, Log(sys.argv[3]))


if __name__ == "__main__":
    asyncio.run(main())
