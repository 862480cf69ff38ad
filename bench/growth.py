"""B12: the cost of a claim, a submit, a list and a poll in a queue of up to a million jobs.

    python -m bench.growth

Each figure is compared with that at 1,000 queued jobs, in turn within one run. Claim and submit are
transactions of the store; list (the newest page of queued jobs) and poll (of a job that nobody polled before,
with its position) are requests over HTTP to an API in this process.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from uuid import UUID

import httpx

from api.app import create_app
from bench.copies import store_copies
from bench.databases import durable_postgres
from bench.rows import MS, Row, Samples, again, compared, interleave, run
from bench.timing import times_ms
from shared.settings import Settings
from tests.support import queue_driver
from tests.support.databases import migrate, open_database
from tests.support.servers import running_app, running_redis

_BASE = 1_000
_TENANTS = 1_000
_SIZES = (10_000, 100_000, 1_000_000)
_CALLS = 20
_AT_LEAST = 1 / 1.5
Operations = dict[str, Callable[[], float]]


def measure(scale: float) -> Iterator[Row]:
    """Measure queues of 10^3, 10^4, 10^5 and 10^6 jobs at full scale."""
    larger = (max(2 * _BASE, round(size * scale)) for size in _SIZES)
    sizes = {**{str(size): size for size in (_BASE, *larger)}, "again": _BASE}
    rounds = max(2, round(5 * scale))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(durable_postgres())
        redis = stack.enter_context(running_redis()).url
        for kind in ("SQLite", "PostgreSQL"):
            with ExitStack() as servers:
                queues = {}
                for name, size in sizes.items():
                    if kind == "PostgreSQL":
                        postgres.execute(f'CREATE DATABASE "{name}"')
                    url = postgres.url(name) if kind == "PostgreSQL" else f"sqlite:///{folder / name}.db"
                    settings = Settings(
                        data_dir=folder, database_url=migrate(url), redis_url=redis, rate_limit=0
                    )
                    queues[name] = _operations(servers, settings, size)
                for operation in queues[str(_BASE)]:
                    cases = {name: operations[operation] for name, operations in queues.items()}
                    yield from _rows(f"{kind}, {operation}", interleave(cases, rounds))


def _rows(case: str, samples: Samples) -> Iterator[Row]:
    base, *between, largest = (name for name in samples if name != "again")
    figures = ", ".join(f"{name} {median(samples[name]):.3g}" for name in between)
    case_at = f"{case} at {largest} / {base} ({figures} ms)"
    yield compared("B12", case_at, MS, samples[largest], samples[base], round(_AT_LEAST, 2))
    yield again("B12", f"{case} at {base}", MS, samples[base], samples["again"])


def _operations(stack: ExitStack, settings: Settings, size: int) -> Operations:
    """Return a function for each operation, which returns its median milliseconds in a queue of this size."""
    database = stack.enter_context(open_database(settings.database_url))
    # the copies' places are a second apart
    changes = {"place": f"place - {size} + n", "tenant": f"'tenant ' || (n % {_TENANTS})"}
    store_copies(database, queue_driver.submit(database), size, changes)
    api, random = stack.enter_context(running_app(create_app(settings))), Random(1)

    def poll() -> httpx.Response:
        return api.get(f"/v1/jobs/{UUID(int=random.randint(size // 2, size))}").raise_for_status()

    def listed() -> httpx.Response:
        return api.get("/v1/jobs", params={"state": "queued"}).raise_for_status()

    calls: dict[str, Callable[[], object]] = {
        "claim": lambda: queue_driver.claim_next(database),
        "submit": lambda: queue_driver.submit(database),
        "list": listed,
        "poll": poll,
    }
    return {name: partial(_median_ms, call) for name, call in calls.items()}


def _median_ms(call: Callable[[], object]) -> float:
    return median(times_ms(call, _CALLS))


if __name__ == "__main__":
    run(measure)
