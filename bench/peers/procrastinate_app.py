"""Procrastinate on PostgreSQL: one worker in this process. Durable.

python -m bench.peers.procrastinate_app CONNECTION_STRING
"""

import asyncio
import logging
import sys
from contextlib import suppress
from time import perf_counter

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

from bench.peers.lines import serve

logging.disable()  # Procrastinate warns that its command line cannot import an app of a main module

_CONCURRENCY = 10
_JOBS_PER_INSERT = 1_000

app = App(connector=PsycopgConnector(conninfo=sys.argv[1]))


@app.task(queue="peer", name="nothing")
async def nothing() -> None:
    """Do nothing."""


def main() -> None:
    """Create the tables if there are none, and serve commands."""
    runner = asyncio.Runner()

    async def create() -> None:
        await app.open_async()
        with suppress(ConnectorException):  # the other process has applied it
            await app.schema_manager.apply_schema_async()

    async def submit(jobs: int) -> None:
        for start in range(0, jobs, _JOBS_PER_INSERT):
            await nothing.configure().batch_defer_async(*[{}] * min(_JOBS_PER_INSERT, jobs - start))

    async def work() -> float:
        started_at = perf_counter()
        await app.run_worker_async(queues=["peer"], concurrency=_CONCURRENCY, wait=False)
        return perf_counter() - started_at

    runner.run(create())
    serve(submit=lambda jobs: runner.run(submit(jobs)), work=lambda: runner.run(work()))


if __name__ == "__main__":
    main()
