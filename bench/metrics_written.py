"""B10: jobs whose metrics are written in a second, compared with MLflow: `python -m bench.metrics_written`.

A job has 10 epochs of 11 batches, 260 values. Trainshed writes them as a worker does, under the attempt's
fence and with an event and a small checkpoint; MLflow's `log_batch` writes the values only. "Each epoch" is a
commit per epoch, as for a job on a CPU; "each job" is one commit, as for a job that takes less than 0.25 s.
Both write to the same kind of database, and call their stores without a server in between. "A commit" is a
transaction with one row of 2 kB, by the driver alone: the least cost of an epoch on this disk.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from bench import peer
from bench.databases import durable_postgres
from bench.no_op import make_metrics
from bench.peer import Peer
from bench.rows import JOBS_PER_S, Row, again, compared, interleave, not_measured, run
from shared.db.engine import Database
from tests.support import factories, queue_driver
from tests.support.databases import migrate, open_database

_EPOCHS, _BATCHES = 10, 11
_LEAST = 20.0
_PEER_SHARE = 10  # MLflow writes a tenth of the jobs: all would take minutes
_METRICS = [make_metrics(epoch, _BATCHES) for epoch in range(_EPOCHS)]
_CASES = {"each epoch": 1, "each job": _EPOCHS}


def measure(scale: float) -> Iterator[Row]:
    """Measure rounds of jobs, 1,000 of Trainshed's in all at full scale."""
    if not peer.installed():
        yield not_measured("B10", "MLflow", peer.MISSING)
        return
    rounds = max(2, round(3 * scale))
    jobs = max(_PEER_SHARE, round(1_000 * scale / rounds))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(durable_postgres())
        postgres.execute("CREATE DATABASE mlflow")
        for kind, url, peer_url in (
            ("SQLite", f"sqlite:///{folder / 'bench.db'}", f"sqlite:///{folder / 'mlflow.db'}"),
            ("PostgreSQL", postgres.url(), postgres.url("mlflow")),
        ):
            database = stack.enter_context(open_database(migrate(url)))
            with Peer("mlflow_store", peer_url, str(folder / "artifacts")) as mlflow:
                yield from _measure(kind, database, mlflow, rounds, jobs)
            yield Row("B10", f"{kind}, a commit of one row", f"{_commit_ms(database):.2f} ms")


def _measure(kind: str, database: Database, mlflow: Peer, rounds: int, jobs: int) -> Iterator[Row]:
    shape: dict[str, Any] = {"jobs": jobs // _PEER_SHARE, "epochs": _EPOCHS, "batches": _BATCHES}
    cases: dict[str, Callable[[], float]] = {}
    for name, each in _CASES.items():
        cases[name] = partial(_write, database, jobs, each)
        cases[f"MLflow, {name}"] = partial(mlflow.ask, "write", epochs_each=each, **shape)
    samples = interleave({**cases, "again": cases["each epoch"]}, rounds)
    for name in _CASES:
        yield compared(
            "B10",
            f"{kind}, {name} / log_batch",
            JOBS_PER_S,
            samples[name],
            samples[f"MLflow, {name}"],
            _LEAST,
        )
    yield again("B10", f"{kind}, each epoch", JOBS_PER_S, samples["each epoch"], samples["again"])


def _write(database: Database, jobs: int, epochs_each: int) -> float:
    """Return the jobs a second whose metrics are written, with some epochs in each commit."""
    running = [queue_driver.running(database) for _ in range(jobs)]
    started_at = perf_counter()
    for attempt in running:
        for first in range(0, _EPOCHS, epochs_each):
            epochs = _METRICS[first : first + epochs_each]
            queue_driver.record_progress(database, attempt, factories.make_progress(*epochs))
    return jobs / (perf_counter() - started_at)


def _commit_ms(database: Database) -> float:
    """Return the median milliseconds of a transaction with one row, on the driver's own connection."""
    value = "x" * 2_000
    times = []
    with database.engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE committed (value TEXT)")
        connection.commit()
        raw = connection.connection.driver_connection
        assert raw is not None
        for _ in range(200):
            started_at = perf_counter()
            raw.execute("BEGIN")
            raw.execute(f"INSERT INTO committed VALUES ('{value}')")
            raw.execute("COMMIT")
            times.append(1_000 * (perf_counter() - started_at))
    return median(times)


if __name__ == "__main__":
    run(measure)
