"""B18: the footprint of a job: its rows, the bytes of PostgreSQL's WAL, and the updates of its `jobs` row.

    python -m bench.footprint

Jobs are run by `run_jobs` in this process, as by `bench.job_cost`. Rows are counted in all tables, before and
after one job, which is submitted without an idempotency key. The WAL is that from the submissions of jobs to
the last report: first of jobs right after a checkpoint, when the first change of a page logs an image of the
page, then of as many further jobs, when few pages are new. Heap-only updates are counted for jobs that run at
the same time, from their claims to their reports.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import text

from bench import no_op
from bench.databases import database_urls
from bench.job_cost import CodelabExecutor, pool_process, run_submitted, submit
from bench.no_op import NoOpExecutor
from bench.rows import Row, Unit, judged, run
from shared.db.engine import Database
from shared.store import leases
from shared.store.transitions import AttemptId
from tests.support import queue_driver, stored
from tests.support.databases import migrate, open_database
from tests.support.factories import make_model
from tests.support.waiting import wait_until
from workers.pool_process import PoolProcess

_BENCH = "B18"
_WARM_UP_JOBS, _JOBS = 50, 400
_RUNNING_JOBS, _EPOCHS = 100, 10  # the lease is renewed before each epoch
_UPDATES = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'")


def measure(scale: float) -> Iterator[Row]:
    """Measure each kind of database; at full scale, the WAL of 800 jobs, and 100 jobs that run at once."""
    with TemporaryDirectory(prefix="bench-") as name, database_urls(Path(name)) as urls:
        folder = Path(name)
        for kind, url in urls.items():
            migrate(url)
            yield _rows_left(folder, kind, url, "a no-op job", no_op.NothingKept, 6)
            yield _rows_left(folder, kind, url, "the codelab's job", CodelabExecutor, 45)
        jobs = max(20, round(_JOBS * scale))
        with pool_process(folder, url, no_op.NothingKept) as process:
            first, later = (_wal_of_a_job(process, jobs) for _ in range(2))
        yield _at_most(f"WAL of a no-op job, {jobs} after a checkpoint", Unit("B"), first)
        yield _at_most(f"WAL of a no-op job, the {jobs} after these", Unit("B"), later, 5_000)
        yield _heap_only(url, max(10, round(_RUNNING_JOBS * scale)))


def _at_most(case: str, unit: Unit, value: float, at_most: float | None = None) -> Row:
    if at_most is None:
        return Row(_BENCH, case, unit.text([value]))
    target = f"<= {at_most:,} {unit.name}"
    return Row(_BENCH, case, unit.text([value]), target=target, verdict=judged(value <= at_most))


def _rows_left(
    folder: Path, kind: str, url: str, case: str, executor: type[NoOpExecutor], at_most: int
) -> Row:
    _run(folder, url, executor)  # leaves the rows that all jobs share
    before = _rows_by_table(url)
    _run(folder, url, executor)
    left = Counter(_rows_by_table(url))
    left.subtract(before)
    listed = ", ".join(f"{table} {rows}" for table, rows in left.items() if rows)
    return _at_most(f"{kind}, rows of {case}: {listed}", Unit("rows"), left.total(), at_most)


def _run(folder: Path, url: str, executor: type[NoOpExecutor]) -> None:
    with pool_process(folder, url, executor) as process:  # the process's end writes the log's last lines
        run_submitted(process, submit(process.database, 1))


def _rows_by_table(url: str) -> dict[str, int]:
    with open_database(url) as database:
        return database.read(stored.rows_by_table)


def _wal_of_a_job(process: PoolProcess, jobs: int) -> float:
    """Return the bytes of WAL per job; the first call measures right after a checkpoint."""
    written = partial(_scalar, process.database, "SELECT pg_current_wal_insert_lsn() - '0/0'")
    if not process.registered.is_set():
        run_submitted(process, submit(process.database, _WARM_UP_JOBS))
        with process.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CHECKPOINT"))
    before = written()
    run_submitted(process, submit(process.database, jobs))
    return (written() - before) / jobs


def _scalar(database: Database, sql: str) -> float:
    with database.engine.connect() as connection:
        return float(connection.execute(text(sql)).scalar_one())


def _heap_only(url: str, jobs: int) -> Row:
    before = _updates(url)
    with open_database(url) as database:
        running = [_start(database) for _ in range(jobs)]
        for epoch, attempt in product(range(_EPOCHS), running):
            database.write(partial(leases.renew, attempts=[attempt], lease_s=queue_driver.LEASE_S))
            queue_driver.record(database, attempt, 1, first=epoch)
        for attempt in running:
            queue_driver.succeed(database, attempt, make_model())
    expected = jobs * (2 * _EPOCHS + 2)  # a backend reports its updates when it ends
    wait_until(lambda: _updates(url)[0] - before[0] >= expected, "all updates are counted")
    updates, heap_only = (after - earlier for after, earlier in zip(_updates(url), before, strict=True))
    case = f"heap-only of {updates:,} updates of {jobs} running jobs"
    share = heap_only / updates
    return Row(_BENCH, case, f"{share:.1%}", target="> 90 %", verdict=judged(share > 0.9))


def _start(database: Database) -> AttemptId:
    queue_driver.submit(database)
    claim = queue_driver.claim_next(database)
    assert claim is not None, "the job can start"
    return claim.attempt


def _updates(url: str) -> tuple[int, int]:
    with open_database(url) as database, database.engine.connect() as connection:
        updates, heap_only = connection.execute(_UPDATES).one()
        return updates, heap_only


if __name__ == "__main__":
    run(measure)
