"""B8: 5,000 server-sent event streams of 50 running jobs, each event to each watcher of its job.

    python -m bench.watchers

The API has its own process; the streams and the writer that changes jobs share another. Ten changes a second
are committed, one job after another, so that a thousand events a second are delivered. The time starts after
the commit, and ends when a watcher has received the event. Memory is the growth of the API's resident set.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import uvloop

from bench.databases import sqlite_settings
from bench.rows import MS, Row, judged, limited, run
from bench.servers import Server, running_server
from bench.timing import percentile
from shared.db.engine import Database
from shared.lifecycle import Phase
from shared.store.change_feed import ChangePublisher
from shared.store.transitions import AttemptId
from tests.support import factories, queue_driver

_JOBS = 50
_MOST_P99_MS = 250.0
_CHANGE_EACH_S = 0.1
_CONNECTING_AT_ONCE = 100
_TIMEOUT_S = 30.0

Times = dict[tuple[UUID, int], float]
"""The time of the event of a job's version, by `perf_counter`."""


def measure(scale: float) -> Iterator[Row]:
    """Measure watchers of jobs in SQLite, each job changed twice at full scale."""
    count, changes = max(_JOBS, round(5_000 * scale)), max(20, round(2 * _JOBS * scale))
    with ExitStack() as stack:
        settings = stack.enter_context(sqlite_settings())
        publisher = ChangePublisher(settings)
        stack.callback(publisher.close)
        database = Database(settings.database_url, committed=publisher)
        stack.callback(database.dispose)
        jobs = [queue_driver.running(database) for _ in range(_JOBS)]
        api = stack.enter_context(running_server("api.app:create_app", settings))
        yield from uvloop.run(_measure(api, database, jobs, count, changes))


async def _measure(
    api: Server, database: Database, jobs: list[AttemptId], count: int, changes: int
) -> list[Row]:
    process = psutil.Process(api.pid)
    before = process.memory_info().rss
    watchers = await _connect(api, jobs, count)
    memory = process.memory_info().rss - before
    phases, changed = cycle([Phase.TRAINING, Phase.EVALUATING]), Times()
    for number in range(changes):
        job = jobs[number % _JOBS]
        if number % _JOBS == 0:
            phase = next(phases)
        await asyncio.to_thread(queue_driver.record_progress, database, job, factories.make_progress(phase))
        changed[job.job_id, 3 + number // _JOBS] = perf_counter()  # after `submitted` and `claimed`
        await asyncio.sleep(_CHANGE_EACH_S)
    expected = sum(watcher.job_id == job_id for watcher in watchers for job_id, _ in changed)
    times_ms = [1_000 * time_s for time_s in await _received(watchers, changed, expected)]
    for watcher in watchers:
        watcher.close()
    case = f"{count:,} watchers of {_JOBS} jobs"
    return [
        Row(
            "B8",
            f"{case}, events",
            f"{len(times_ms):,}",
            "",
            "",
            f"{expected:,}",
            judged(len(times_ms) == expected),
        ),
        limited("B8", f"{case}, p99", MS, [percentile(times_ms, 99)], _MOST_P99_MS),
        Row("B8", f"{case}, memory", f"{memory / count / 1_024:.1f} KiB each"),
    ]


async def _connect(api: Server, jobs: list[AttemptId], count: int) -> list["_Watcher"]:
    """Open the streams, and wait until each has received the events that its job already had."""
    host, _, port = urlsplit(api.url).netloc.partition(":")
    watchers: list[_Watcher] = []
    for start in range(0, count, _CONNECTING_AT_ONCE):
        group = [
            _Watcher(jobs[number % _JOBS].job_id)
            for number in range(start, min(start + _CONNECTING_AT_ONCE, count))
        ]
        for watcher in group:
            await _connect_one(watcher, host, int(port))
        await _until(partial(_have_begun, group))
        watchers += group
    return watchers


async def _connect_one(watcher: "_Watcher", host: str, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: watcher, host, port)


def _have_begun(watchers: Sequence["_Watcher"]) -> bool:
    return all(len(watcher.received) >= 2 for watcher in watchers)


async def _received(watchers: list["_Watcher"], changed: Times, expected: int) -> list[float]:
    """Return the seconds from each change to each arrival, when all have arrived or time is up."""

    def times() -> list[float]:
        return [
            at - changed[watcher.job_id, seq]
            for watcher in watchers
            for seq, at in watcher.received.items()
            if (watcher.job_id, seq) in changed
        ]

    await _until(lambda: len(times()) >= expected)
    return times()


async def _until(condition: Callable[[], bool]) -> None:
    deadline = perf_counter() + _TIMEOUT_S
    while not condition() and perf_counter() < deadline:
        await asyncio.sleep(0.05)


class _Watcher(asyncio.Protocol):
    """A client that reads the stream of a job.

    Attributes:
        received: the arrival time of each version's event, by `perf_counter`.
    """

    def __init__(self, job_id: UUID) -> None:
        self.job_id = job_id
        self.received: dict[int, float] = {}
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._transport.write(
            f"GET /v1/jobs/{self.job_id}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        )

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        at = perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"id: "):
                self.received[int(line[4:])] = at


if __name__ == "__main__":
    run(measure)
