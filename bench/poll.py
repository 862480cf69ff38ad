"""B7: the CPU time of the server for a poll of an unchanged job, compared with a plain route.

    python -m bench.poll

Trainshed authenticates each request by an API key and counts the request against a rate limit. The peer does
neither: it is a FastAPI route that reads the same job of the same database by SQLAlchemy's ORM and returns
the job as a pydantic model. Each runs in uvicorn, in a process of its own, whose CPU time is compared; 64
keep-alive connections poll without a pause. "again" is a second process of Trainshed's API. Then 2,000
pollers poll once a second each, and their latency is measured.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from uuid import UUID

import psutil
import uvloop
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from bench.databases import sqlite_settings
from bench.pollers import Request, get, polling
from bench.rows import MS, Row, Unit, again, compared, interleave, limited, run
from bench.servers import Server, running_server
from bench.timing import percentile
from shared.db.engine import Database
from shared.db.tables import Job
from shared.schemas import Scope
from shared.store import api_keys
from shared.store.api_keys import NewApiKey
from tests.support import queue_driver
from tests.support.databases import open_database

_JOBS = 50
_KEYS = 20
_CONNECTIONS = 64
_RATE_LIMIT = 100_000.0  # each request is counted, and none refused
_LEAST_RATIO = 15.0
_MOST_P99_MS = 50.0
_POLLERS = 2_000
_POLLS = Unit("polls/CPU s")
_PEER, _OURS, _AGAIN = "plain FastAPI", "ours", "again"
_APPS = {_PEER: "bench.poll:create_plain_app", **dict.fromkeys((_OURS, _AGAIN), "api.app:create_app")}

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


def measure(scale: float) -> Iterator[Row]:
    """Measure polls of 50 unchanged jobs in SQLite."""
    with ExitStack() as stack:
        settings = stack.enter_context(sqlite_settings(rate_limit=_RATE_LIMIT))
        with open_database(settings.database_url) as database:
            requests = _requests(database)
        servers = {
            name: stack.enter_context(running_server(factory, settings)) for name, factory in _APPS.items()
        }
        cases = {
            name: partial(_polls_a_cpu_second, server, requests, max(0.5, 3.0 * scale))
            for name, server in servers.items()
        }
        samples = interleave(cases, max(2, round(5 * scale)))
        paced = uvloop.run(
            _poll(servers[_OURS].url, requests, _POLLERS, max(2.0, 10.0 * scale), period_s=1.0)
        )
    yield compared("B7", f"{_OURS} / {_PEER}", _POLLS, samples[_OURS], samples[_PEER], _LEAST_RATIO)
    yield again("B7", _OURS, _POLLS, samples[_OURS], samples[_AGAIN])
    p99 = percentile(paced, 99)
    yield limited("B7", f"{_POLLERS:,} pollers, {len(paced):,} polls, p99", MS, [p99], _MOST_P99_MS)


def _requests(database: Database) -> Requests:
    """Store finished and running jobs and API keys; return a poll of each job by one of the keys."""
    keys = [NewApiKey.draw() for _ in range(_KEYS)]
    for key in keys:
        database.write(partial(api_keys.create, key=key, name="a poller", scope=Scope.READ))
    jobs = [queue_driver.succeeded(database)[0] for _ in range(_JOBS // 2)]
    jobs += [queue_driver.running(database).job_id for _ in range(_JOBS - len(jobs))]
    return [
        get(f"/v1/jobs/{job_id}", f"Authorization: Bearer {key}")
        for job_id, key in zip(jobs, cycle(keys), strict=False)
    ]


def _polls_a_cpu_second(server: Server, requests: Requests, seconds: float) -> float:
    process = psutil.Process(server.pid)
    before = process.cpu_times()
    polls = len(uvloop.run(_poll(server.url, requests, _CONNECTIONS, seconds, period_s=0.0)))
    after = process.cpu_times()
    return polls / (after.user + after.system - before.user - before.system)


async def _poll(
    url: str, requests: Requests, connections: int, seconds: float, *, period_s: float
) -> list[float]:
    """Poll from many connections for some time; return the milliseconds of each poll."""
    times_ms: list[float] = []

    def responded(status: int, _sent_at: float, ms: float) -> None:
        assert status == 200, f"a poll failed: {status}"
        times_ms.append(ms)

    each: list[Request] = [partial(bytes, requests[number % len(requests)]) for number in range(connections)]
    async with polling(url, each, responded, period_s=period_s):
        await asyncio.sleep(seconds)
    return times_ms


if __name__ == "__main__":
    run(measure)
