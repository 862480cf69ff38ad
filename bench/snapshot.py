"""B20: the cost of a claim while a dump or an analyst's query holds an old snapshot of PostgreSQL.

    python -m bench.snapshot

Six tenants have jobs that end at once, and some always wait. Each finished job leaves an entry in the index
of waiting jobs, which PostgreSQL keeps for as long as a snapshot may see the job as it was. A claim is the
transaction by which a worker takes a job; its blocks are those of its UPDATE, by EXPLAIN.
"""

from collections.abc import Iterator
from statistics import median, quantiles
from time import perf_counter

from sqlalchemy import text

from bench.databases import durable_postgres
from bench.rows import Row, judged, run
from shared.db.engine import Database
from shared.store.known_turns import KnownTurns
from shared.store.submissions import Submitter
from tests.support import queue_driver
from tests.support.databases import migrate, open_database
from tests.support.factories import make_new_job
from tests.support.statements import Statement, recorded_statements

_TENANTS = [f"tenant {number}" for number in range(6)]
_WAITING = 100  # jobs of each tenant
_ROUND = 600  # jobs
_AT_MOST = 1.5


def measure(scale: float) -> Iterator[Row]:
    """Measure claims before and at the end of some thousand jobs under one snapshot."""
    rounds = max(3, round(20 * scale))
    with durable_postgres() as server, open_database(migrate(server.url())) as database:
        known = KnownTurns()
        _submit(database, _WAITING)
        for _ in range(2):
            before = _run(database, known)
        with database.engine.connect() as reader:
            reader.execute(text("SET idle_in_transaction_session_timeout = 0"))
            reader.execute(text("SET transaction_timeout = 0"))
            reader.commit()
            reader.execution_options(isolation_level="REPEATABLE READ")
            reader.execute(text("SELECT count(*) FROM jobs"))
            for _ in range(rounds):
                after = _run(database, known)
    case = f"PostgreSQL, a claim after {rounds * _ROUND:,} jobs under one snapshot, beside before"
    for name, first, last in zip(("blocks", "p95 in ms"), before, after, strict=True):
        ratio = last / first
        figures = (f"{last:.3g}", f"{first:.3g}", f"{ratio:.2f}", f"<= {_AT_MOST:g}x")
        yield Row("B20", f"{case}: {name}", *figures, judged(ratio <= _AT_MOST))


def _run(database: Database, known: KnownTurns) -> tuple[float, float]:
    """Run a round of jobs; return the median blocks of every 60th claim, and the p95 of all claims in ms."""
    _submit(database, _ROUND // len(_TENANTS))
    times, blocks = [], []
    for number in range(_ROUND):
        began = perf_counter()
        with recorded_statements(database) as statements:
            claim = queue_driver.claim_next(database, known=known)
        times.append(1_000 * (perf_counter() - began))
        assert claim is not None
        queue_driver.report_cancelled(database, claim.attempt)
        if number % 60 == 0:
            [update] = [each for each in statements if each.sql.startswith("UPDATE jobs")][-1:]
            blocks.append(_blocks(database, update))
    return median(blocks), quantiles(times, n=20)[-1]


def _submit(database: Database, jobs: int) -> None:
    for tenant in _TENANTS:
        new = [make_new_job() for _ in range(jobs)]
        queue_driver.submit_all(database, new, submitter=Submitter(tenant))


def _blocks(database: Database, update: Statement) -> float:
    """Return the number of blocks that a recorded claim reads when it is executed again."""
    with database.engine.connect() as connection:  # without a commit
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {update.sql}"
        [plan] = connection.exec_driver_sql(explain, update.parameters).scalar_one()
        return float(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


if __name__ == "__main__":
    run(measure)
