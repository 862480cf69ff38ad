"""Procrastinate under faults: creates its tables, submits jobs or works, each in a process of its own.

python -m bench.peers.procrastinate_chaos {create | submit | work} CONNECTION_STRING [FILE]

Procrastinate polls as often as awa. Jobs of workers that have vanished are retried as its documentation
advises: by a periodic task of the user's.
"""

import asyncio
import os
import sys

from procrastinate import App, JobContext, PsycopgConnector

from bench.chaos_load import WORK_S, Log, produce

_QUEUE = "peer"
_CONCURRENCY = 10
_POLL_S = 0.05

log = Log(sys.argv[3] if sys.argv[1] == "work" else os.devnull)
app = App(connector=PsycopgConnector(conninfo=sys.argv[2]))


@app.task(queue=_QUEUE, name="work")
async def work(number: int) -> None:
    """Wait, and record the execution."""
    await asyncio.sleep(WORK_S)
    log.executed(number)


@app.periodic(cron="* * * * * */10")
@app.task(queue=_QUEUE, queueing_lock="stalled", pass_context=True, name="retry_stalled")
async def retry_stalled(_context: JobContext, **_: int) -> None:
    """Retry jobs whose worker has sent no heartbeat for 30 s, which is Procrastinate's default."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


async def main() -> None:
    """Run the command that the command line names."""
    async with app.open_async():
        match sys.argv[1]:
            case "create":
                await app.schema_manager.apply_schema_async()
            case "submit":
                await produce(lambda number: work.defer_async(number=number), sys.argv[3])
            case _:
                await app.run_worker_async(
                    queues=[_QUEUE], concurrency=_CONCURRENCY, fetch_job_polling_interval=_POLL_S
                )


if __name__ == "__main__":
    asyncio.run(main())
