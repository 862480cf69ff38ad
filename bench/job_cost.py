"""The cost of a job to the queue: a training job that trains nothing, from its claim to its report.

The job has 10 epochs of 11 batches and a model of 75 kB, as the codelab's job has, and is run by `run_jobs`
in this process, whose logs are configured as a pool process's.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from sqlalchemy import event

from bench.databases import database_urls
from bench.no_op import NoOpExecutor
from bench.timing import machine
from shared import log
from shared.db.engine import Database
from shared.formats.results import KERAS_FILE, MODEL, ONNX_FILE, NewArtifact
from shared.lifecycle import JobState
from shared.schemas import TrainSpec
from shared.store.submit import submit_job
from tests.support import stored
from tests.support.databases import migrate, open_database
from tests.support.factories import make_new_job, make_settings
from tests.support.pool_processes import running_pool_process, watched
from tests.support.statements import recorded_statements
from workers.job_log_handler import JobLogHandler
from workers.pool_process import PoolProcess
from workers.runner import run_jobs

JOBS = 300
_WARM_UP_JOBS = 30  # for compiled statements, and the statements that psycopg prepares after their fifth use
_COUNTED_JOBS = 10
SPEC = TrainSpec(epochs=10, train_size=5_500, validation_size=1_000, evaluation_size=500, seed=1)
"""A training job of the codelab's size."""

_FILES = (
    NewArtifact(KERAS_FILE, os.urandom(50_000), MODEL),
    NewArtifact(ONNX_FILE, os.urandom(25_000), MODEL),
)
_MODEL = replace(NoOpExecutor.model, artifacts=_FILES)


class CodelabExecutor(NoOpExecutor):
    """An executor whose training job keeps as much as the codelab's."""

    model = _MODEL


def main() -> None:
    """Run the jobs on each kind of database and print the cost of one."""
    print(f"a job that trains nothing, one process, {JOBS} jobs")
    with TemporaryDirectory(prefix="bench-") as name, database_urls(Path(name)) as urls:
        for kind, url in urls.items():
            with pool_process(Path(name), migrate(url), CodelabExecutor) as process:
                print(f"{kind:12}{_measure(process)}")
    print(f"{machine()}, load average {os.getloadavg()[0]:.1f}")


def _measure(process: PoolProcess) -> str:
    run_submitted(process, submit(process.database, _WARM_UP_JOBS))
    job_ids = submit(process.database, JOBS)
    cpu, wall = time.process_time(), time.perf_counter()
    run_submitted(process, job_ids)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    with recorded_statements(process.database) as statements, _commits(process.database) as commits:
        counted = submit(process.database, _COUNTED_JOBS)
        statements.clear()
        commits.clear()
        run_submitted(process, counted)
    return (
        f"{1_000 * cpu / JOBS:6.2f} ms CPU {1_000 * wall / JOBS:6.2f} ms wall {JOBS / wall:6.0f} jobs/s "
        f"{sum(not each.is_boundary for each in statements) / _COUNTED_JOBS:5.1f} statements "
        f"{len(commits) / _COUNTED_JOBS:.1f} transactions"
    )


def submit(database: Database, count: int) -> list[UUID]:
    """Submit training jobs of the codelab's size; return their ids."""
    new = [make_new_job(spec=SPEC) for _ in range(count)]
    for job in new:
        database.write(partial(submit_job, new=job))
    return [job.id for job in new]


def run_submitted(process: PoolProcess, job_ids: list[UUID]) -> None:
    """Run all jobs of the queue, which must be these, and check that the first and the last succeeded."""
    run_jobs(process)
    states = (stored.job(process.database, job_id).state for job_id in (job_ids[0], job_ids[-1]))
    assert set(states) == {JobState.SUCCEEDED}


@contextmanager
def _commits(database: Database) -> Iterator[list[object]]:
    commits: list[object] = []
    count: Callable[[object], None] = commits.append
    event.listen(database.engine, "commit", count)
    try:
        yield commits
    finally:
        event.remove(database.engine, "commit", count)


@contextmanager
def pool_process(folder: Path, url: str, executor: type[NoOpExecutor]) -> Iterator[PoolProcess]:
    """Yield a process for `run_jobs`, with the logging of a pool process, whose lines are discarded."""
    settings, handler = make_settings(folder, database_url=url), JobLogHandler()
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stderr(nowhere),
        open_database(url) as database,
        running_pool_process(
            settings, database, folder, executor(settings), job_log=handler, interval_s=0.5
        ) as process,
        watched(process),
    ):
        log.configure("INFO")
        logging.getLogger().addHandler(handler)
        yield process
        logging.getLogger().removeHandler(handler)


if __name__ == "__main__":
    main()
