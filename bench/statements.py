"""The cost of a job to PostgreSQL, statement by statement: `python -m bench.statements [--write]`.

Jobs are submitted and run in this process, as by `bench.job_cost`, one at a time and up to 16 together, on a
durable PostgreSQL with pg_stat_statements. A statement's time is that of its planning and execution, with the
triggers and checks that it runs. Parsing, commits and background work are only in the CPU time of the
server's processes, a row under the table's sum; a commit's wait for the disk is in neither. There is a COMMIT
for each BEGIN; COMMITs are left out, since pg_stat_statements counts only those that are not prepared.

The table is in `docs/architecture.md` between two markers, where `--write` puts it.
"""

import argparse
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine, create_engine, text

from bench import no_op
from bench.drain import cpu_s
from bench.job_cost import SPEC, CodelabExecutor, pool_process
from bench.no_op import NoOpExecutor
from shared.schemas import TrainSpec
from shared.store.submissions import NewJobs
from shared.store.submit import submit_jobs
from tests.support.databases import migrate
from tests.support.factories import make_new_job
from tests.support.paths import ROOT
from tests.support.servers import PostgresServer, running_postgres
from workers.marks import MAX_ATTEMPTS
from workers.pace import Pace
from workers.pool_process import PoolProcess
from workers.runner import run_jobs

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- python -m bench.statements --write -->", "<!-- end of the table -->"

_JOBS = 60 * MAX_ATTEMPTS
_WARM_UP_JOBS = 10 * MAX_ATTEMPTS
_OPTIONS = ("fsync=on", "shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track_planning=on")
_USED = text(
    "SELECT query, calls, rows, 1000 * (total_plan_time + total_exec_time) FROM pg_stat_statements"
    " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = :database)"
    " AND query <> 'COMMIT'"
)
_WAL = text("SELECT pg_current_wal_insert_lsn() - '0/0'")

# in the order of the table; a statement has the first name whose pattern matches its beginning
_NAMES = {
    "begin of a transaction": r"BEGIN",
    "the time": r"SELECT \(clock_timestamp\(\)",
    "places of the tenant": r"SELECT \(SELECT jobs\.place",
    "jobs": r"INSERT INTO jobs ",
    "whose turn it is": r"WITH RECURSIVE found",
    "weights of tenants": r"SELECT api_keys\.team",
    "environment": r"INSERT INTO environments ",
    "claim of one": r"UPDATE jobs SET state=.* attempt=\(jobs\.attempt",
    "claim of several": r"WITH following AS",
    "whether limits are set, after no job was found": r"SELECT \(EXISTS \(SELECT queues\.name",
    "attempts begin": r"INSERT INTO attempts ",
    "end of one": r"UPDATE jobs SET state=(?!.*json_to_recordset).* finished_at=",
    "end of several": r"UPDATE jobs SET state=.* finished_at=",
    "progress": r"UPDATE jobs SET (phase|version|next_epoch|last_values)",
    "epochs": r"INSERT INTO epochs ",
    "checkpoints deleted": r"DELETE FROM checkpoints ",
    "events": r"INSERT INTO job_events ",
    "attempts end": r"UPDATE attempts ",
    "files": r"INSERT INTO artifacts ",
    "models": r"INSERT INTO models ",
    "results": r"INSERT INTO results ",
    "results of classes": r"INSERT INTO class_results ",
    "use of tenants": r"INSERT INTO tenants ",
    "log": r"INSERT INTO job_logs ",
    "look of the parent": r"SELECT workers\.state AS worker_state",
    "renewal by the parent": r"UPDATE jobs SET lease_expires_at=",
}
_PATTERNS = {name: re.compile(pattern) for name, pattern in _NAMES.items()}
_WORDS_OF_OTHERS = 6


def name_of(sql: str) -> str:
    """Return the short name of a statement, or else its first words, so that no statement is hidden."""
    words = sql.split()
    normal = " ".join(words)
    named = (name for name, pattern in _PATTERNS.items() if pattern.match(normal))
    return next(named, " ".join(words[:_WORDS_OF_OTHERS]))


@dataclass
class Cost:
    """The cost of a statement per job: its calls, the rows that it returns or changes, and its time."""

    calls: float = 0.0
    rows: float = 0.0
    us: float = 0.0

    def add(self, calls: float, rows: float, us: float) -> None:
        """Add the cost of another statement."""
        self.calls += calls
        self.rows += rows
        self.us += us


@dataclass(frozen=True)
class Costs:
    """The cost of a job in one of the ways to run it.

    Attributes:
        statements: the cost of each statement, by name.
        cpu_us: the CPU time of all processes of the server.
        wal: the bytes of WAL.
    """

    statements: dict[str, Cost]
    cpu_us: float
    wal: float

    @property
    def total(self) -> Cost:
        """The sum of the statements."""
        total = Cost()
        for cost in self.statements.values():
            total.add(cost.calls, cost.rows, cost.us)
        return total


class _Alone(Pace):
    """The pace of a process whose jobs are long."""

    @property
    def most(self) -> int:
        return 1


def main() -> None:
    """Measure, and print the tables; `--write` puts them into the page."""
    parser = argparse.ArgumentParser(description="Print what a job costs PostgreSQL.")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    options = parser.parse_args()
    of_run = f"{os.cpu_count()} cores, Python {platform.python_version()}, {_JOBS} jobs each."
    tables = "\n\n".join([*_tables(), of_run])
    print(tables)
    print(f"load average {os.getloadavg()[0]:.1f}")
    if options.write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}")


def _tables() -> Iterator[str]:
    with (
        TemporaryDirectory(prefix="bench-") as name,
        running_postgres(*(part for option in _OPTIONS for part in ("-c", option))) as server,
    ):
        server.execute("CREATE EXTENSION pg_stat_statements")
        kinds: dict[str, tuple[type[NoOpExecutor], TrainSpec]] = {
            "a job that keeps nothing": (no_op.NothingKept, no_op.SPEC),
            "a job of 10 epochs that keeps a model and an evaluation": (CodelabExecutor, SPEC),
        }
        for number, (kind, (executor, spec)) in enumerate(kinds.items()):
            submitted, run = _costs(server, f"kind_{number}", Path(name), executor, spec)
            if number == 0:
                together = f"{MAX_ATTEMPTS} in a transaction"
                yield _table("the submission of a job", ("by itself", together), submitted)
            yield _table(kind, ("one at a time", f"up to {MAX_ATTEMPTS} together"), run)


def _costs(
    server: PostgresServer, database: str, folder: Path, executor: type[NoOpExecutor], spec: TrainSpec
) -> tuple[list[Costs], list[Costs]]:
    """Return the costs of a job's submission and of its run, each one at a time and together."""
    server.execute(f"CREATE DATABASE {database}")
    url, submitted, run = server.url(database), list[Costs](), list[Costs]()
    reader = create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with pool_process(folder, migrate(url), executor) as process:
        submit(process, spec, _WARM_UP_JOBS, together=MAX_ATTEMPTS)
        run_jobs(process)
        server.execute("ANALYZE", database)  # autovacuum would do it only after a minute
        for pace, together in ((_Alone(), 1), (Pace(), MAX_ATTEMPTS)):
            submits = partial(submit, process, spec, _JOBS, together=together)
            submitted.append(_measure(server, reader, database, submits))
            run.append(_measure(server, reader, database, partial(run_jobs, replace(process, pace=pace))))
    reader.dispose()
    return submitted, run


def submit(process: PoolProcess, spec: TrainSpec, jobs: int, *, together: int) -> None:
    """Submit jobs as the API does, `together` requests in each transaction."""
    new = [NewJobs([make_new_job(spec=spec)]) for _ in range(jobs)]
    for start in range(0, jobs, together):
        requests = new[start : start + together]
        process.database.write(partial(submit_jobs, requests=requests, again=False))


def _measure(server: PostgresServer, reader: Engine, database: str, work: Callable[[], None]) -> Costs:
    pids = [server.pid]
    with reader.connect() as connection:
        connection.execute(text("SELECT pg_stat_statements_reset()"))
        wal, cpu = connection.execute(_WAL).scalar_one(), cpu_s(pids)
        work()
        cpu = cpu_s(pids) - cpu
        wal = connection.execute(_WAL).scalar_one() - wal
        rows = connection.execute(_USED, {"database": database}).all()
    statements: dict[str, Cost] = {}
    for sql, *used in rows:
        statements.setdefault(name_of(sql), Cost()).add(*(float(each) / _JOBS for each in used))
    return Costs(statements, 1e6 * cpu / _JOBS, float(wal) / _JOBS)


def _table(kind: str, ways: Sequence[str], costs: Sequence[Costs]) -> str:
    found = {name for each in costs for name in each.statements}
    names = [name for name in _NAMES if name in found] + sorted(found - _NAMES.keys())
    head = [cell for way in ways for cell in (f"{way}: calls", "rows", "µs")]
    lines = [_line(kind, head), _line("---", ["---:"] * len(head))]
    for name in names:
        lines.append(_line(name, [cell for each in costs for cell in _cells(each.statements.get(name))]))
    lines.append(_line("**sum**", [cell for each in costs for cell in _cells(each.total)]))
    lines.append(_line("CPU of the server, µs", [cell for each in costs for cell in _last(each.cpu_us)]))
    lines.append(_line("WAL, bytes", [cell for each in costs for cell in _last(each.wal)]))
    return "\n".join(lines)


def _line(first: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def _cells(cost: Cost | None) -> list[str]:
    return ["", "", ""] if cost is None else [f"{cost.calls:.2f}", f"{cost.rows:.2f}", f"{cost.us:.0f}"]


def _last(value: float) -> list[str]:
    return ["", "", f"{value:,.0f}"]


if __name__ == "__main__":
    main()
