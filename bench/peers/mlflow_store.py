"""MLflow's store of runs and metrics, without its server.

python -m bench.peers.mlflow_store DATABASE_URL FOLDER
"""

import logging
import sys
from time import perf_counter, time_ns

from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from bench.peers.lines import milliseconds, serve

_METRICS_PER_WRITE = 1_000  # MLflow's maximum


def main() -> None:
    """Create the tables, and serve commands."""
    logging.disable()
    store = SqlAlchemyStore(sys.argv[1], sys.argv[2])
    experiment = store.create_experiment("bench")

    def write(jobs: int, epochs: int, batches: int, epochs_each: int) -> float:
        """Return the jobs a second whose metrics `log_batch` writes, with some epochs in each call."""
        runs = [_create_run() for _ in range(jobs)]
        started_at = perf_counter()
        for run in runs:
            for first in range(0, epochs, epochs_each):
                numbers = range(first, first + epochs_each)
                metrics = [metric for epoch in numbers for metric in _metrics(epoch, batches)]
                store.log_batch(run, metrics, params=[], tags=[])
        return jobs / (perf_counter() - started_at)

    def fill(points: int) -> str:
        """Store a run with a curve of this many points; return its id."""
        run = _create_run()
        for start in range(0, points, _METRICS_PER_WRITE):
            steps = range(start, min(start + _METRICS_PER_WRITE, points))
            store.log_batch(run, [_metric("loss", step) for step in steps], params=[], tags=[])
        return run

    def curve(run: str, points: int, count: int) -> list[float]:
        """Return the milliseconds in which the curve is read as this many points."""
        times = []
        for _ in range(count):
            started_at = perf_counter()
            history = store.get_metric_history_bulk_interval([run], "loss", points, None, None)
            times.append(perf_counter() - started_at)
            assert len(history) >= points
        return milliseconds(times)

    def _create_run() -> str:
        return str(store.create_run(experiment, "bench", 0, [], "bench").info.run_id)

    serve(write=write, fill=fill, curve=curve)


def _metrics(epoch: int, batches: int) -> list[Metric]:
    steps = range(epoch * batches, (epoch + 1) * batches)
    of_batches = [_metric(name, step) for name in ("batch_loss", "batch_accuracy") for step in steps]
    return of_batches + [_metric(name, epoch) for name in ("loss", "accuracy", "val_loss", "val_accuracy")]


def _metric(name: str, step: int) -> Metric:
    return Metric(name, 1 / (1 + step), time_ns() // 1_000_000, step)


if __name__ == "__main__":
    main()
