"""B11: milliseconds to read a curve of 100,000 points as 500 points of a chart: `python -m bench.curves`.

Trainshed's curve is read over HTTP, with authentication and JSON; MLflow's store samples the same number of
points by its own query, without a server in between.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from api.app import create_app
from bench import peer
from bench.databases import durable_postgres
from bench.metrics_series import read_series, store_job
from bench.peer import Peer
from bench.rows import MS, Row, again, compared, interleave, not_measured, run
from bench.timing import times_ms
from shared.settings import Settings
from tests.support.databases import migrate, open_database
from tests.support.servers import running_app

_POINTS = 500
_LEAST = 5.0
_REQUESTS = 5


def measure(scale: float) -> Iterator[Row]:
    """Measure rounds of some requests each."""
    if not peer.installed():
        yield not_measured("B11", "MLflow", peer.MISSING)
        return
    rounds, steps = max(2, round(7 * scale)), max(10_000, round(100_000 * scale))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(durable_postgres())
        postgres.execute("CREATE DATABASE mlflow")
        for kind, url, peer_url in (
            ("SQLite", f"sqlite:///{folder / 'bench.db'}", f"sqlite:///{folder / 'mlflow.db'}"),
            ("PostgreSQL", postgres.url(), postgres.url("mlflow")),
        ):
            yield from _measure(kind, folder, migrate(url), peer_url, rounds, steps)


def _measure(kind: str, folder: Path, url: str, peer_url: str, rounds: int, steps: int) -> Iterator[Row]:
    with open_database(url) as database:
        job_id = store_job(database, steps)
    settings = Settings(
        data_dir=folder, database_url=url, redis_url=f"unix://{folder}/redis.sock", rate_limit=0
    )
    with running_app(create_app(settings)) as api, Peer("mlflow_store", peer_url, str(folder)) as mlflow:
        run_id = mlflow.ask("fill", points=steps)
        read = partial(read_series, api, f"/v1/jobs/{job_id}/metrics", {"names": "loss"})

        def ours() -> float:
            return median(times_ms(read, _REQUESTS))

        def theirs() -> float:
            return float(median(mlflow.ask("curve", run=run_id, points=_POINTS, count=_REQUESTS)))

        samples = interleave({"ours": ours, "MLflow": theirs, "again": ours}, rounds)
    case = f"{kind}, {steps:,} points / MLflow"
    yield compared("B11", case, MS, samples["ours"], samples["MLflow"], _LEAST)
    yield again("B11", f"{kind}, {steps:,} points", MS, samples["ours"], samples["again"])


if __name__ == "__main__":
    run(measure)
