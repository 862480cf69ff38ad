"""Benchmark of a million metric points, downsampled to 500, over HTTP, on SQLite and on PostgreSQL.

    python -m bench.metrics_series [--steps 1000000] [--rounds 30]

One job has a million steps in 100 epochs, each with a loss and an accuracy, so that its two metrics have
twice as many points; ten other jobs have a tenth of the steps each. The limit is a p95 of 100 ms; the exit
status is 1 if it is exceeded.
"""

import argparse
import sys
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import numpy as np
from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.databases import Times, measure_api
from bench.timing import report, times_ms
from shared.db.engine import Database
from shared.db.tables import Epoch
from shared.formats.epochs import pack_steps
from tests.support import factories, queue_driver

_LIMIT_MS = 100.0
_EPOCHS = 100
_JOBS = 10
_POINTS = 500


def main() -> None:
    """Run the benchmark and print its table."""
    options = _options()
    print(f"{options.steps:,} steps as {_POINTS} points; {options.rounds} requests each, over HTTP")
    times = measure_api(
        lambda database: _store_jobs(database, options.steps),
        lambda api, job_ids: _measure(api, job_ids, options),
    )
    sys.exit(not report(times, percent=95, limit_ms=_LIMIT_MS))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A million metric points, downsampled to 500.")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    return parser.parse_args()


def _store_jobs(database: Database, steps: int) -> list[UUID]:
    return [store_job(database, count) for count in (steps, *[steps // _JOBS] * _JOBS)]


def _measure(api: httpx.Client, job_ids: list[UUID], options: argparse.Namespace) -> Times:
    path, others = f"/v1/jobs/{job_ids[0]}/metrics", ",".join(map(str, job_ids[1:]))
    middle = options.steps // 2
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "one metric of a job": (path, {"names": "loss"}),
        "two metrics of a job": (path, {}),
        f"{_POINTS} steps of a job": (path, {"from": middle, "to": middle + _POINTS - 1}),
        f"one metric of {_JOBS} jobs": ("/v1/metrics", {"names": "loss", "jobs": others}),
    }
    _check(api, *cases["one metric of a job"], options.steps)
    return {
        case: times_ms(partial(read_series, api, *request), options.rounds) for case, request in cases.items()
    }


def store_job(database: Database, steps: int) -> UUID:
    """Store a running job with its epochs; return its id."""
    job_id = queue_driver.running(database).job_id
    random = np.random.default_rng(1)
    for epoch in range(_EPOCHS):
        values = factories.make_epoch(epoch).values
        of_steps = {name: random.uniform(size=steps // _EPOCHS) for name in ("loss", "accuracy")}
        row = {"epoch": epoch, "seconds": 0.25, "values": values, "steps": pack_steps(of_steps)}
        statement = insert(Epoch).values(job_id=job_id, attempt=1, **row)
        database.write(partial(Session.execute, statement=statement))
    return job_id


def read_series(api: httpx.Client, path: str, query: dict[str, Any]) -> httpx.Response:
    """Read metrics of each batch as at most 500 points."""
    return api.get(path, params={"resolution": "step", "max_points": _POINTS, **query}).raise_for_status()


def _check(api: httpx.Client, path: str, query: dict[str, Any], steps: int) -> None:
    [metric] = read_series(api, path, query).json()["series"]
    assert (metric["total_points"], len(metric["x"]), metric["x"][-1]) == (steps, _POINTS, steps - 1)


if __name__ == "__main__":
    main()
