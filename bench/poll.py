"""Benchmark of polls: the CPU time of the server for a poll of an unchanged job, compared with a plain route.

    python -m bench.poll [--rounds 5] [--seconds 3] [--pollers 2000]

Ours authenticates each request by an API key and counts it against a rate limit. The peer does neither: it is
a FastAPI route that reads the same job of the same database by SQLAlchemy's ORM and returns it as a pydantic
model. Each runs in uvicorn, in a process of its own, whose CPU time is compared; 64 keep-alive connections
poll without a pause. The servers take turns within a round; "ours again" is a second process of ours, whose
ratio to ours is the machine's noise. Then every poller polls once a second, and their latency is measured.
"""

import argparse
import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import uvloop
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from bench.servers import Server, running_server
from bench.timing import machine, percentile
from shared.db.engine import Database
from shared.db.tables import Job
from shared.schemas import Scope
from shared.settings import Settings
from shared.store import api_keys
from shared.store.api_keys import NewApiKey
from tests.support import factories
from tests.support.databases import migrate, open_database
from tests.support.servers import running_redis

_JOBS = 50
_KEYS = 20
_CONNECTIONS = 64
_RATE_LIMIT = 100_000.0  # each request is counted, and none refused
_LEAST_RATIO = 15.0
_MOST_P99_MS = 50.0
_PACED_S = 10.0
_PEER, _OURS, _AGAIN = "plain FastAPI", "ours", "ours again"

Requests = Sequence[bytes]


class PlainJob(BaseModel):
    """A job as the peer returns it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str
    state: str
    phase: str | None
    name: str | None
    tags: list[str]
    queue: str
    priority: str
    spec: dict[str, object]
    attempt: int
    version: int
    next_epoch: int
    loss: float | None
    accuracy: float | None
    model_id: UUID | None


def create_plain_app() -> FastAPI:
    """Return the peer: one route that reads a job."""
    app, sessions = FastAPI(), sessionmaker(create_engine(os.environ["TRAINSHED_DATABASE_URL"]))

    @app.get("/livez")
    def respond() -> None:
        pass

    @app.get("/v1/jobs/{job_id}")
    def get_job(job_id: UUID) -> PlainJob:
        with sessions() as session:
            return PlainJob.model_validate(session.get_one(Job, job_id))

    return app


def main() -> None:
    """Run the benchmark and print its tables."""
    options = _options()
    print(machine())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        settings = Settings(
            data_dir=folder,
            database_url=migrate(f"sqlite:///{folder / 'bench.db'}"),
            redis_url=stack.enter_context(running_redis()).url,
            rate_limit=_RATE_LIMIT,
        )
        with open_database(settings.database_url) as database:
            requests = _requests(database)
        factories_ = {
            _PEER: "bench.poll:create_plain_app",
            **dict.fromkeys((_OURS, _AGAIN), "api.app:create_app"),
        }
        servers = {
            name: stack.enter_context(running_server(factory, settings))
            for name, factory in factories_.items()
        }
        _report(_compare(servers, requests, options.rounds, options.seconds))
        _report_latency(_paced(servers[_OURS], requests, options.pollers), options.pollers)
    print(f"load average {os.getloadavg()[0]:.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU time of a poll, compared with a plain FastAPI route.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--pollers", type=int, default=2_000)
    return parser.parse_args()


def _requests(database: Database) -> Requests:
    """Store finished and running jobs and API keys; return a poll of each job by one of the keys."""
    keys = [NewApiKey.draw() for _ in range(_KEYS)]
    for key in keys:
        database.write(partial(api_keys.create, key=key, name="a poller", scope=Scope.READ))
    jobs = [factories.succeeded(database)[0] for _ in range(_JOBS // 2)]
    jobs += [factories.running(database).job_id for _ in range(_JOBS - len(jobs))]
    return [
        f"GET /v1/jobs/{job_id} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n"
        f"Authorization: Bearer {key}\r\n\r\n".encode()
        for job_id, key in zip(jobs, cycle(keys), strict=False)
    ]


def _compare(
    servers: Mapping[str, Server], requests: Requests, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Return the polls a CPU second of each server, by round."""
    rates = defaultdict(list)
    for number in range(rounds + 1):
        for name, server in servers.items():
            process = psutil.Process(server.pid)
            before = process.cpu_times()
            polls = len(uvloop.run(_poll(server.url, requests, _CONNECTIONS, seconds, period_s=0.0)))
            after = process.cpu_times()
            if number:  # the first round warms up
                used_s = after.user + after.system - before.user - before.system
                rates[name].append(polls / used_s)
    return rates


def _paced(server: Server, requests: Requests, pollers: int) -> list[float]:
    return uvloop.run(_poll(server.url, requests, pollers, _PACED_S, period_s=1.0))


async def _poll(
    url: str, requests: Requests, connections: int, seconds: float, *, period_s: float
) -> list[float]:
    """Poll from many connections for some time; return the milliseconds of each poll."""
    loop, (host, _, port) = asyncio.get_running_loop(), urlsplit(url).netloc.partition(":")
    times_ms: list[float] = []
    pollers = []
    for number in range(connections):
        create = partial(_Poller, requests[number % len(requests)], times_ms, period_s)
        _, poller = await loop.create_connection(create, host, int(port))
        pollers.append(poller)
    for number, poller in enumerate(pollers):
        loop.call_later(period_s * number / connections, poller.send)
    await asyncio.sleep(seconds)
    for poller in pollers:
        poller.stop()
    return times_ms


class _Poller(asyncio.Protocol):
    """A client that polls over one connection: `period_s` after the last poll, or after its response."""

    def __init__(self, request: bytes, times_ms: list[float], period_s: float) -> None:
        self._request, self._times_ms, self._period_s = request, times_ms, period_s
        self._received, self._is_stopped = b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def send(self) -> None:
        if not self._is_stopped:
            self._sent_at = perf_counter()
            self._transport.write(self._request)

    def stop(self) -> None:
        self._is_stopped = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise AssertionError(f"a poll failed: {head!r}")
        self._received = b""
        passed_s = perf_counter() - self._sent_at
        self._times_ms.append(1_000 * passed_s)
        if self._period_s:
            asyncio.get_running_loop().call_later(max(0.0, self._period_s - passed_s), self.send)
        else:
            self.send()


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


def _report(rates: Mapping[str, Sequence[float]]) -> None:
    print(f"{'polls a CPU second':24}{'median':>10}{'least':>10}{'greatest':>10}")
    for name, values in rates.items():
        print(f"{name:24}{median(values):10,.0f}{min(values):10,.0f}{max(values):10,.0f}")
    for name, base in ((_OURS, _PEER), (_AGAIN, _OURS)):
        ratios = [mine / its for mine, its in zip(rates[name], rates[base], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)}"
        verdict = "" if name == _AGAIN else f"  {_verdict(median(ratios) >= _LEAST_RATIO)} (15x)"
        print(f"{name} / {base}: {median(ratios):.2f} ({spread}){verdict}")


def _report_latency(times_ms: Sequence[float], pollers: int) -> None:
    p50, p99 = (percentile(times_ms, percent) for percent in (50, 99))
    print(
        f"{pollers:,} keep-alive pollers, each once a second, {len(times_ms):,} polls: "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms  {_verdict(p99 < _MOST_P99_MS)} ({_MOST_P99_MS:g} ms)"
    )


def _verdict(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


if __name__ == "__main__":
    main()
