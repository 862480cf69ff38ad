"""Load for ten minutes on two slots, while a million finished jobs are purged.

    python -m bench.load [--minutes 10] [--finished 1000000]

The load runs on PostgreSQL, whose commits wait for the disk. 8 clients submit a job, wait for its end and
submit the next; 200 others read the status of a recent job once a second; 20 watch the events of all jobs.
The jobs train on `digits` with TensorFlow. After a third of the time a second worker starts, which runs no
job but has a retention, so that the time before is without a purge. The load goes on until the purge has
ended. The benchmark passes if no response is an error and no connection breaks, the p99 of a status read is
below 100 ms and not much higher while the purge runs, no process grows, every job has succeeded, and each
watcher has seen the end of each job.

The finished jobs are copies of a failed one with its attempt and events; a model's files would be 75 GB.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import psutil
from sqlalchemy import select

from bench.copies import store_copies
from bench.databases import durable_postgres
from bench.load_clients import WATCHERS, Clients, Seen
from bench.rows import Row, judged, print_table
from bench.servers import running_server, running_worker, starting_worker
from bench.timing import machine
from shared.db.engine import Database
from shared.db.tables import Attempt, Job, JobEvent
from shared.settings import Settings
from tests.support import queue_driver
from tests.support.databases import migrate, open_database
from tests.support.servers import running_redis

_SLOTS = 2
_MOST_P99_MS = 100.0
# growth up to this factor is noise: two halves of the time before the purge differ by as much
_MOST_P99_GROWTH = 1.5
_MOST_MEMORY_GROWTH = 0.05
_WARM_UP_S = 60.0
_SAMPLE_EACH_S = 1.0
_RETENTION_S = 86_400.0
_TIMEOUT_S = 3_600.0


def main() -> None:
    """Run the load and print its table; the exit status is 1 if a row fails."""
    parser = argparse.ArgumentParser(description="Load on two slots, while finished jobs are purged.")
    parser.add_argument("--minutes", type=float, default=10.0, help="at least; the purge may take longer")
    parser.add_argument("--finished", type=int, default=1_000_000, help="jobs that are to be purged")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # started processes end too
    print(f"{machine()}, load average {os.getloadavg()[0]:.1f}", flush=True)
    rows = list(_measure(60 * options.minutes, options.finished))
    print_table(rows)
    sys.exit(any(row.verdict not in ("PASS", "stated", "null test") for row in rows))


def _measure(seconds: float, finished: int) -> Iterator[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(durable_postgres())
        settings = Settings(
            data_dir=folder,
            database_url=migrate(postgres.url()),
            redis_url=stack.enter_context(running_redis()).url,
            rate_limit=0,
            slots=_SLOTS,
        )
        database = stack.enter_context(open_database(settings.database_url))
        _store_finished(database, finished)
        print(f"{finished:,} finished jobs are stored", flush=True)
        api = stack.enter_context(running_server("api.app:create_app", settings))
        worker = stack.enter_context(running_worker(settings))
        seen, processes = Seen(), _processes(api.pid, worker)
        times, memory = asyncio.run(_run(api.url, seen, settings, database, seconds, processes))
    yield from _rows(seen, times, memory, finished)


def _store_finished(database: Database, count: int) -> None:
    """Store jobs that ended ten days ago, a millisecond apart."""
    day = "10 * interval '1 day' - n * interval '1 millisecond'"
    times = {name: f"{name} - ({day})" for name in ("created_at", "started_at", "finished_at")}
    parts = {
        Attempt: {name: times[name] for name in ("started_at", "finished_at")},
        JobEvent: {"at": f"at - ({day})", "position": "position - n"},
    }
    store_copies(database, queue_driver.failed(database), count, times, parts)


def _processes(api: int, worker: int) -> dict[str, psutil.Process]:
    parent = psutil.Process(worker)
    # the other child is the resource tracker of multiprocessing
    slots = sorted(parent.children(), key=lambda child: child.memory_info().rss)[-_SLOTS:]
    named = {f"slot {number}": slot for number, slot in enumerate(slots, 1)}
    return {"API": psutil.Process(api), "worker's parent": parent, **named}


@dataclass
class _Times:
    """Two periods of the load: start and end in seconds since its start.

    Attributes:
        before: the time without a purge.
        purge: the purge, from the first missing finished job until none was left.
    """

    before: tuple[float, float]
    purge: tuple[float, float]


async def _run(
    url: str,
    seen: Seen,
    settings: Settings,
    database: Database,
    seconds: float,
    processes: dict[str, psutil.Process],
) -> tuple[_Times, dict[str, list[float]]]:
    memory: dict[str, list[float]] = {name: [] for name in processes}
    folder = settings.data_dir / "purger"
    folder.mkdir()
    changes = {"data_dir": folder, "queues": ("none",), "slots": 1, "job_retention_s": _RETENTION_S}
    purger = Settings.model_validate({**settings.model_dump(exclude_unset=True), **changes})
    with ExitStack() as stack:
        async with Clients(url, seen).running():
            oldest, before_end, purge_start = await asyncio.to_thread(_oldest, database), 0.0, 0.0
            purging: subprocess.Popen[bytes] | None = None
            deadline = seen.started_at + max(_TIMEOUT_S, 2 * seconds)
            while perf_counter() < deadline:
                await asyncio.sleep(_SAMPLE_EACH_S)
                if seen.now() > _WARM_UP_S:
                    for name, process in processes.items():
                        memory[name].append(process.memory_info().rss / 2**20)
                if purging is None and seen.now() > max(_WARM_UP_S, seconds / 3):
                    before_end = seen.now()
                    purging = stack.enter_context(starting_worker(purger))
                assert purging is None or purging.poll() is None, "the worker that purges has ended"
                if purging and not purge_start and await asyncio.to_thread(_oldest, database) != oldest:
                    purge_start = seen.now()
                if purge_start and not await asyncio.to_thread(_has_copies, database):
                    break
            else:
                raise AssertionError("the purge has not ended in time")
            purge_end = seen.now()
            await asyncio.sleep(max(0.0, seconds - seen.now()))
    start = min(_WARM_UP_S, before_end / 2)
    return _Times((start, before_end), (purge_start, purge_end)), memory


def _oldest(database: Database) -> Any:
    return database.read(
        lambda session: session.scalar(
            select(Job.id).where(Job.finished_at.is_not(None)).order_by(Job.finished_at).limit(1)
        )
    )


def _has_copies(database: Database) -> bool:
    day_ago = "finished_at < now() - interval '1 day'"
    with database.engine.connect() as connection:
        return connection.exec_driver_sql(f"SELECT 1 FROM jobs WHERE {day_ago} LIMIT 1").first() is not None


def _rows(seen: Seen, times: _Times, memory: dict[str, list[float]], finished: int) -> Iterator[Row]:
    minutes, jobs = seen.now() / 60, len(seen.jobs)
    yield Row("", "time", f"{minutes:.1f} minutes")
    yield Row(
        "", "jobs", f"{jobs:,}, {dict(seen.states)}", verdict=judged(seen.states == {"succeeded": jobs})
    )
    yield Row("", "errors", str(dict(seen.bad)), target="none", verdict=judged(not seen.bad))
    ended = Counter(seen.jobs)
    saw_all = sum(watched == ended for watched in seen.ended)
    yield Row(
        "",
        "watchers that saw each end once",
        str(saw_all),
        target=str(WATCHERS),
        verdict=judged(saw_all == WATCHERS),
    )
    p99 = seen.p99(0.0, seen.now())
    yield Row(
        "",
        f"{len(seen.polls):,} status reads, p99",
        f"{p99:.1f} ms",
        target=f"< {_MOST_P99_MS:g} ms",
        verdict=judged(p99 < _MOST_P99_MS),
    )
    yield from _purge_rows(seen, times, finished)
    for name, samples in memory.items():
        growth = _growth(samples)
        yield Row(
            "",
            f"memory, {name}",
            f"{samples[0]:.0f} MB, {samples[-1]:.0f} MB at the end",
            "",
            f"{growth:+.1%}",
            f"< {_MOST_MEMORY_GROWTH:+.0%}",
            judged(growth < _MOST_MEMORY_GROWTH),
        )


def _purge_rows(seen: Seen, times: _Times, finished: int) -> Iterator[Row]:
    start, end = times.before
    half = (start + end) / 2
    before, purged = seen.p99(start, end), seen.p99(*times.purge)
    first, second = seen.p99(start, half), seen.p99(half, end)
    took_s = times.purge[1] - times.purge[0]
    yield Row(
        "", f"purge of {finished:,} jobs", f"{took_s / 60:.1f} minutes, {finished / took_s:,.0f} jobs/s"
    )
    yield Row(
        "",
        "p99 before the purge, its halves",
        f"{first:.1f} ms, {second:.1f} ms",
        "",
        f"{second / first:.2f}",
        verdict="null test",
    )
    growth = purged / before
    yield Row(
        "",
        "p99 while the purge runs / before",
        f"{purged:.1f} ms",
        f"{before:.1f} ms",
        f"{growth:.2f}",
        f"< {_MOST_P99_GROWTH:g}x",
        judged(growth < _MOST_P99_GROWTH),
    )


def _growth(samples: Sequence[float]) -> float:
    return samples[-1] / samples[0] - 1


if __name__ == "__main__":
    main()
