"""The clients of `bench.load`: they submit, read statuses and watch events, and record the results."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import Any

import httpx

from bench.pollers import get, polling
from bench.timing import percentile
from shared.lifecycle import TERMINAL

_SUBMITTERS, _POLLERS, WATCHERS = 8, 200, 20
_RECENT_JOBS = 50
_SPEC = {"dataset": "digits", "epochs": 2}
_REQUEST_TIMEOUT = httpx.Timeout(60.0)


@dataclass
class Seen:
    """The records of the clients.

    Attributes:
        polls: the time of each status read, in seconds since the start, and its milliseconds.
        bad: the numbers of error responses and broken connections, by kind.
        ended: for each watcher, the number of ends that it has seen of each job.
    """

    started_at: float = field(default_factory=perf_counter)
    polls: list[tuple[float, float]] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)
    jobs: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    ended: list[Counter[str]] = field(default_factory=lambda: [Counter() for _ in range(WATCHERS)])

    def now(self) -> float:
        """Return the seconds since the start."""
        return perf_counter() - self.started_at

    def p99(self, start: float, end: float) -> float:
        """Return the p99 of the status reads sent between two times."""
        return percentile([ms for at, ms in self.polls if start <= at < end], 99)


class Clients:
    """The clients of one API."""

    def __init__(self, url: str, seen: Seen) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx.AsyncClient(base_url=url, timeout=_REQUEST_TIMEOUT, limits=limits)
        self._seen, self._url = seen, url
        self._random = Random(1)
        self._stopped = asyncio.Event()
        self._open_streams = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the clients for the length of a `with` block, whose exit waits until every job has ended."""
        async with self._http:
            watchers = [asyncio.create_task(self._watch(number)) for number in range(WATCHERS)]
            await self._until(lambda: self._open_streams == WATCHERS)
            submitters = [asyncio.create_task(self._submit()) for _ in range(_SUBMITTERS)]
            await self._until(lambda: bool(self._seen.jobs))
            requests = [self._status_read] * _POLLERS
            async with polling(self._url, requests, self._polled, period_s=1.0):
                yield
                self._stopped.set()
                await asyncio.gather(*submitters)
            await self._until(self._is_all_seen)
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)

    def _is_all_seen(self) -> bool:
        return all(len(ended) >= len(self._seen.jobs) for ended in self._seen.ended)

    @staticmethod
    async def _until(condition: Callable[[], bool]) -> None:
        deadline = perf_counter() + 30
        while not condition() and perf_counter() < deadline:
            await asyncio.sleep(0.1)

    async def _submit(self) -> None:
        while not self._stopped.is_set():
            spec = {**_SPEC, "seed": len(self._seen.jobs)}
            job = await self._request("POST", "/v1/jobs", json={"kind": "train", "spec": spec})
            if job is None:
                continue
            self._seen.jobs.append(job["id"])
            address = f"/v1/jobs/{job['id']}"
            while job["state"] not in TERMINAL:
                job = await self._request("GET", address, params={"wait": 30, "until": "end"}) or job
            self._seen.states[job["state"]] += 1

    def _status_read(self) -> bytes:
        recent = self._random.choice(self._seen.jobs[-_RECENT_JOBS:])
        return get(f"/v1/jobs/{recent}")

    def _polled(self, status: int, sent_at: float, ms: float) -> None:
        if status == 200:
            self._seen.polls.append((sent_at - self._seen.started_at, ms))
        else:
            self._seen.bad[f"status read: {status}"] += 1

    async def _watch(self, number: int) -> None:
        try:
            await self._read_stream(number)
            self._seen.bad["a stream ended"] += 1
        except httpx.TransportError as error:
            self._seen.bad[f"a stream: {type(error).__name__}"] += 1

    async def _read_stream(self, number: int) -> None:
        async with self._http.stream("GET", "/v1/stream") as response:
            is_end = False
            self._open_streams += 1
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    is_end = line[7:] in TERMINAL
                elif is_end and line.startswith("data: "):
                    self._seen.ended[number][json.loads(line[6:])["job_id"]] += 1

    async def _request(self, method: str, address: str, **options: Any) -> dict[str, Any] | None:
        """Return a response's JSON, or None after an error or a broken connection."""
        try:
            response = await self._http.request(method, address, **options)
        except httpx.TransportError as error:
            self._seen.bad[type(error).__name__] += 1
            return None
        if response.is_error:
            self._seen.bad[str(response.status_code)] += 1
            return None
        body: dict[str, Any] = response.json()
        return body
