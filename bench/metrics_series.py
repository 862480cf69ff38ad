"""A million metric points as curves of 500, over HTTP, on SQLite and on PostgreSQL.

    python -m bench.metrics_series [--steps 1000000] [--rounds 30]

One job has so many steps over 100 epochs, with a loss and an accuracy each, so that both curves have twice as
many points; ten other jobs have a tenth each. The limit is a p95 of 100 ms; the exit status says whether it
was kept.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
from sqlalchemy import insert

from api.app import create_app
from bench.timing import report, times_ms
from shared.db.engine import Database
from shared.db.tables import Epoch
from shared.settings import Settings
from tests.support import factories
from tests.support.servers import running_app, running_postgres

_LIMIT_MS = 100.0
_EPOCHS = 100
_JOBS = 10
_POINTS = 500


def main() -> None:
    """Print the table."""
    options = _options()
    print(f"{options.steps:,} steps as {_POINTS} points; {options.rounds} requests each, over HTTP")
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        columns["SQLite"] = _measure(f"sqlite:///{folder}/curves.db", Path(folder), options)
        with running_postgres() as server:
            server.execute("CREATE DATABASE curves")
            columns["PostgreSQL"] = _measure(server.url("curves"), Path(folder), options)
    sys.exit(not report(columns, percent=95, limit_ms=_LIMIT_MS))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A million metric points as curves of 500.")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    return parser.parse_args()


def _measure(url: str, folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    database = Database(url)
    database.migrate()
    one = _job(database, options.steps)
    several = ",".join(str(_job(database, options.steps // _JOBS)) for _ in range(_JOBS))
    database.dispose()
    settings = Settings(
        data_dir=folder, database_url=url, redis_url=f"unix://{folder}/redis.sock", rate_limit=0
    )
    with running_app(create_app(settings)) as api:
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "one curve of a job": (f"/v1/jobs/{one}/metrics", {"names": "loss"}),
            "both curves of a job": (f"/v1/jobs/{one}/metrics", {}),
            f"one curve of {_JOBS} jobs": ("/v1/metrics", {"names": "loss", "jobs": several}),
        }
        _check(api, *asked["one curve of a job"], options.steps)
        return {case: times_ms(partial(_ask, api, *of), options.rounds) for case, of in asked.items()}


def _job(database: Database, steps: int) -> UUID:
    """A running job with its epochs; returns its id."""
    job_id = factories.running(database).job_id
    random = np.random.default_rng(1)
    for epoch in range(_EPOCHS):
        values = factories.make_epoch(epoch).model_dump()
        values.update(
            {name: random.uniform(size=steps // _EPOCHS) for name in ("batch_loss", "batch_accuracy")}
        )
        row = {"job_id": job_id, "attempt": 1, **values}
        database.write(lambda session, row=row: session.execute(insert(Epoch), [row]))  # type: ignore[misc]
    return job_id


def _ask(api: httpx.Client, path: str, query: dict[str, Any]) -> httpx.Response:
    return api.get(path, params={"resolution": "step", "max_points": _POINTS, **query}).raise_for_status()


def _check(api: httpx.Client, path: str, query: dict[str, Any], steps: int) -> None:
    [curve] = _ask(api, path, query).json()["series"]
    assert (curve["total_points"], len(curve["x"]), curve["x"][-1]) == (steps, _POINTS, steps - 1)


if __name__ == "__main__":
    main()
