"""A million metric points as a curve of 500, from the request to the answer.

    python -m bench.metrics_series [--steps 1000000] [--epochs 100] [--repeats 20]

One job has so many steps over so many epochs, with a loss and an accuracy each. Asked are its loss, a million
points, and both curves. The API serves over HTTP on loopback in this process, on SQLite and on PostgreSQL.
"""

import argparse
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from uuid import UUID

import httpx
import numpy as np
from sqlalchemy import insert

from api.app import create_app
from shared.db import Database
from shared.settings import Settings
from shared.tables import Epoch
from tests import factories
from tests.servers import running_app, running_postgres


def main() -> None:
    """Run the benchmark and print its table."""
    options = _options()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{options.steps:,} steps in {options.epochs:,} epochs; ms a request, median (max)")
    with TemporaryDirectory() as folder:
        for name, url in _databases(Path(folder)):
            job_id = _fill(url, options.steps, options.epochs)
            settings = Settings(
                data_dir=Path(folder), database_url=url, redis_url=f"unix://{folder}/redis.sock", rate_limit=0
            )
            with running_app(create_app(settings)) as client:
                for names in ("loss", "loss,accuracy"):
                    times = [_ask(client, job_id, names, options.steps) for _ in range(options.repeats)]
                    print(f"{name:12}{names:16}{median(times):8.1f} ({max(times):.1f})")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A million metric points as a curve of 500.")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=20)
    return parser.parse_args()


def _databases(folder: Path) -> Iterator[tuple[str, str]]:
    yield "SQLite", f"sqlite:///{folder}/trainshed.db"
    with _postgresql() as url:
        yield "PostgreSQL", url


@contextmanager
def _postgresql() -> Iterator[str]:
    with running_postgres() as server:
        server.execute("CREATE DATABASE bench")
        yield server.url("bench")


def _fill(url: str, steps: int, epochs: int) -> UUID:
    """A running job with its epochs; returns its id."""
    database = Database(url)
    database.migrate()
    job_id = factories.running(database).job_id
    random = np.random.default_rng(1)
    for epoch in range(epochs):
        values = factories.make_epoch(epoch).model_dump()
        values.update(
            batch_loss=random.uniform(size=steps // epochs),
            batch_accuracy=random.uniform(size=steps // epochs),
        )
        row = {"job_id": job_id, "attempt": 1, **values}
        database.write(lambda session, row=row: session.execute(insert(Epoch), [row]))  # type: ignore[misc]
    database.dispose()
    return job_id


def _ask(client: httpx.Client, job_id: UUID, names: str, steps: int) -> float:
    query: dict[str, str | int] = {"resolution": "step", "names": names, "max_points": 500}
    began = perf_counter()
    answer = client.get(f"/v1/jobs/{job_id}/metrics", params=query).raise_for_status()
    took = (perf_counter() - began) * 1_000
    [first, *_] = answer.json()["series"]
    assert (first["total_points"], len(first["x"]), first["x"][-1]) == (steps, 500, steps - 1)
    return took


if __name__ == "__main__":
    main()
